"""mde_fast: fast training of multi-modal recommenders."""

__version__ = "0.1.0"
