"""Parts that several models share: towers over item features, preferences of nodes."""
