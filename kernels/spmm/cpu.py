"""CPU path of row_sum, one fused bag-sum and an epilogue in place, and of edge_dot."""

from __future__ import annotations

import warnings

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


def row_sum_into_cpu(*arguments) -> None:
    *given, out = arguments
    out.copy_(row_sum_cpu(*given))


def edge_dot_cpu(rowptr: Tensor, columns: Tensor, pieces: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    shape = rowptr.numel() - 1, right.shape[0]
    # A CSR tensor of PyTorch's holds no more edges than it has places: fewer than a small graph with repeated edges.
    fits = 0 < columns.numel() <= shape[0] * shape[1]
    if fits and left.device.type == "cpu" and right.dtype in (torch.float32, torch.float64):
        # Reads both rows of an edge where they are: gathered into matrices first they cost several times as long.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            zeros = right.new_zeros(columns.shape)
            edges = torch.sparse_csr_tensor(rowptr, columns, zeros, shape, check_invariants=False)
        arguments = edges, left.contiguous(), right.contiguous().T
        return torch.sparse.sampled_addmm(*arguments, beta=0.0, out=edges).values()
    rows = torch.arange(rowptr.numel() - 1, device=left.device).repeat_interleave(rowptr.diff())
    return (left[rows] * right[columns]).sum(1)
