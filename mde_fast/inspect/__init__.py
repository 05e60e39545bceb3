"""The preferences of a trained model made visible."""
