"""CPU path of edge_softmax: rows are contiguous runs of edges, which are added up one after another."""

from __future__ import annotations

import torch
from torch import Tensor

from ..support import accumulation_dtype


def edge_softmax_forward_cpu(
    rowptr: Tensor, rows: Tensor, pieces: Tensor | None, splits: Tensor | None, num_slots: int, scores: Tensor
) -> Tensor:
    if scores.numel() == 0:
        return scores.new_empty(0)
    exact = scores.to(accumulation_dtype(scores.dtype))
    exponent = (exact - _each_row(exact, rowptr, "max").index_select(0, rows)).exp_()
    return exponent.div_(_each_row(exponent, rowptr, "sum").index_select(0, rows)).to(scores.dtype)


def edge_softmax_backward_cpu(
    rowptr: Tensor,
    rows: Tensor,
    pieces: Tensor | None,
    splits: Tensor | None,
    num_slots: int,
    grad: Tensor,
    alpha: Tensor,
) -> Tensor:
    if alpha.numel() == 0:
        return alpha.new_empty(0)
    exact = alpha.to(accumulation_dtype(alpha.dtype))
    weighted = exact * grad
    along = _each_row(weighted, rowptr, "sum").index_select(0, rows)
    return weighted.sub_(along.mul_(exact)).to(alpha.dtype)


def _each_row(values: Tensor, rowptr: Tensor, reduction: str) -> Tensor:
    """(R,) the largest or the sum of each row's values (edges,)."""
    return torch.segment_reduce(values, reduction, offsets=rowptr)
