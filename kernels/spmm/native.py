"""Launchers of the native row_sum and edge_dot."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call, contiguous


def row_sum_native(
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
    out = x.new_empty(rowptr.numel() - 1, x.shape[1])
    row_sum_into_native(
        rowptr, columns, values, scale, constant, pieces, splits, num_slots, x, residual, out_scale, out
    )
    return out


def row_sum_into_native(
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
    out: Tensor,
) -> None:
    rows, width = out.shape
    values, scale, x_rows, residual = contiguous(values, scale, x, residual)
    call(
        "row_sum", ELEMENTS[out.dtype], rowptr.element_size(), rowptr, columns, values, scale, float(constant), x_rows,
        residual, float(out_scale), out, rows, columns.numel(), width,
    )  # fmt: skip


def edge_dot_native(rowptr: Tensor, columns: Tensor, pieces: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    out = right.new_empty(columns.shape)
    left, right = left.contiguous(), right.contiguous()
    call(
        "edge_dot", ELEMENTS[right.dtype], rowptr.element_size(), rowptr, columns, left, right, out,
        rowptr.numel() - 1, columns.numel(), right.shape[1],
    )  # fmt: skip
    return out
