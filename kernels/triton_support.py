"""Furniture that Triton kernels share; imported by them alone, since it imports triton."""

from __future__ import annotations

import torch
import triton.language as tl

from .support import accumulation_dtype


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """:func:`accumulation_dtype` as kernels name it."""
    return tl.float64 if accumulation_dtype(dtype) == torch.float64 else tl.float32
