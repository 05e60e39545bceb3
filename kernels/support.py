"""Furniture that operators share: one spelling for each idea."""

from __future__ import annotations

import torch


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision that sums are made in, whatever their terms are stored in: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32
