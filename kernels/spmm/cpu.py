"""CPU path of row_sum: one fused bag-sum, and an epilogue in place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def row_sum_cpu(
    rowptr: Tensor,
    columns: Tensor,
    values: Tensor | None,
    scale: Tensor | None,
    constant: float,
    pieces: Tensor | None,
    splits: Tensor | None,
    num_slots: int,
    x: Tensor,
    residual: Tensor | None,
    out_scale: float,
) -> Tensor:
    if columns.numel() == 0:
        out = x.new_zeros(rowptr.numel() - 1, x.shape[1])
    else:
        if scale is not None:
            rows = torch.arange(rowptr.numel() - 1, device=x.device).repeat_interleave(rowptr.diff())
            values = scale[rows] * scale[columns]
        # embedding_bag is the fastest sparse-dense product PyTorch has on a CPU (generated code on x86). Its own
        # backward scatters, so it is only ever called here, outside autograd.
        out = F.embedding_bag(
            columns, x.contiguous(), rowptr, mode="sum", per_sample_weights=values, include_last_offset=True
        )
        if values is None and constant != 1:
            out.mul_(constant)
    if residual is not None:
        out.add_(residual)
    return out if out_scale == 1 else out.mul_(out_scale)


def edge_dot_cpu(rowptr: Tensor, columns: Tensor, pieces: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    rows = torch.arange(rowptr.numel() - 1, device=left.device).repeat_interleave(rowptr.diff())
    return (left[rows] * right[columns]).sum(1)
