"""Furniture that operators share: one spelling for each idea."""

from __future__ import annotations

import torch
from torch import Tensor


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision that sums are made in, whatever their terms are stored in: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def scatter_rows(rows: Tensor, ids: Tensor, like: Tensor) -> Tensor:
    """Zeros like a table (R, ...), plus ``rows[b]`` at ``ids[b]`` for each b; always in the same order."""
    if like.device.type == "cpu":
        table = torch.zeros(like.shape, dtype=rows.dtype).index_add_(0, ids, rows)
    else:
        # On a GPU index_add_ adds in any order; the backward of an embedding sorts.
        table = torch.ops.aten.embedding_dense_backward(rows.flatten(1), ids, like.shape[0], -1, False)
    return table.view(like.shape).to(like.dtype)
