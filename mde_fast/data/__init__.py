"""Data: files of several forms -> one InteractionDataset."""

from .dataset import InteractionDataset, Split
from .load import load_dataset

__all__ = ["InteractionDataset", "Split", "load_dataset"]
