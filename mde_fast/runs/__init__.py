"""A training run: its options, its folder, its life."""
