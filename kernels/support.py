"""Furniture that operators share: one spelling for each idea."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision that sums are made in, whatever their terms are stored in: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def late(package: str, name: str) -> Callable[[], Callable]:
    """What returns the launcher ``name`` of an operator's ``triton_kernels``, which imports triton only when called.

    Args:
        package: of the operator, its ``__package__``.
    """
    return lambda: getattr(importlib.import_module(".triton_kernels", package), name)
