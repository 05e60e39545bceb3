"""GPU path of row_sum: one program per piece of a row, partial sums of long rows added up in a fixed order."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work

# Where an edge's value comes from.
CONSTANT, STORED, DEGREE_SCALED = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit(launch_metadata=metrics_of(work.row_sum))
def row_sum_kernel(
    x_ptr,  # (C, D)
    columns_ptr,  # (edges,)
    values_ptr,  # (edges,), read when VALUES == STORED
    scale_ptr,  # (N,), read when VALUES == DEGREE_SCALED
    pieces_ptr,  # (pieces, 4): row, first edge, last edge + 1, slot or -1
    residual_ptr,  # (R, D)
    out_ptr,  # (R, D)
    partial_ptr,  # (slots, D)
    constant: tl.float64,
    out_scale: tl.float64,
    D: tl.constexpr,
    VALUES: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    piece = tl.program_id(0).to(tl.int64) * 4
    row = tl.load(pieces_ptr + piece).to(tl.int64)
    start = tl.load(pieces_ptr + piece + 1)
    stop = tl.load(pieces_ptr + piece + 2)
    slot = tl.load(pieces_ptr + piece + 3).to(tl.int64)
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_row = dims < D

    # Added up within the block: a total for each of its edges would take the registers that loads in flight fill.
    result = tl.zeros((BLOCK_D,), dtype=ACC)
    for first in range(start, stop, BLOCK_E):
        edges = first + tl.arange(0, BLOCK_E)
        exists = edges < stop
        columns = tl.load(columns_ptr + edges, mask=exists, other=0).to(tl.int64)
        neighbours = tl.load(
            x_ptr + columns[:, None] * D + dims[None, :], mask=exists[:, None] & in_row[None, :], other=0.0
        ).to(ACC)
        if VALUES == CONSTANT:
            result += tl.sum(neighbours, axis=0)
        else:
            if VALUES == STORED:
                weight = tl.load(values_ptr + edges, mask=exists, other=0.0).to(ACC)
            else:
                weight = tl.load(scale_ptr + columns, mask=exists, other=0.0).to(ACC)
            result += tl.sum(weight[:, None] * neighbours, axis=0)
    if VALUES == CONSTANT:
        result *= tl.full((), constant, dtype=ACC)
    if VALUES == DEGREE_SCALED:
        result *= tl.load(scale_ptr + row).to(ACC)

    if slot >= 0:
        tl.store(partial_ptr + slot * D + dims, result, mask=in_row)
    else:
        if HAS_RESIDUAL:
            result += tl.load(residual_ptr + row * D + dims, mask=in_row, other=0.0).to(ACC)
        result *= tl.full((), out_scale, dtype=ACC)
        tl.store(out_ptr + row * D + dims, result.to(out_ptr.dtype.element_ty), mask=in_row)


@triton.jit(launch_metadata=metrics_of(work.add_partials))
def add_partials_kernel(
    partial_ptr,  # (slots, D)
    splits_ptr,  # (splits, 3): row, first slot, last slot + 1
    residual_ptr,  # (R, D)
    out_ptr,  # (R, D)
    out_scale: tl.float64,
    D: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    split = tl.program_id(0).to(tl.int64) * 3
    row = tl.load(splits_ptr + split).to(tl.int64)
    start = tl.load(splits_ptr + split + 1)
    stop = tl.load(splits_ptr + split + 2)
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_row = dims < D

    result = tl.zeros((BLOCK_D,), dtype=ACC)
    for first in range(start, stop, BLOCK_S):
        slots = first + tl.arange(0, BLOCK_S)
        partial = tl.load(
            partial_ptr + slots.to(tl.int64)[:, None] * D + dims[None, :],
            mask=(slots < stop)[:, None] & in_row[None, :],
            other=0.0,
        )
        result += tl.sum(partial, axis=0)
    if HAS_RESIDUAL:
        result += tl.load(residual_ptr + row * D + dims, mask=in_row, other=0.0).to(ACC)
    result *= tl.full((), out_scale, dtype=ACC)
    tl.store(out_ptr + row * D + dims, result.to(out_ptr.dtype.element_ty), mask=in_row)


@triton.jit(launch_metadata=metrics_of(work.edge_dot))
def edge_dot_kernel(
    left_ptr,  # (R, D)
    right_ptr,  # (C, D)
    columns_ptr,  # (edges,)
    pieces_ptr,  # (pieces, 4)
    out_ptr,  # (edges,)
    D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    piece = tl.program_id(0).to(tl.int64) * 4
    row = tl.load(pieces_ptr + piece).to(tl.int64)
    start = tl.load(pieces_ptr + piece + 1)
    stop = tl.load(pieces_ptr + piece + 2)
    for first in range(start, stop, BLOCK_E):
        edges = first + tl.arange(0, BLOCK_E)
        exists = edges < stop
        columns = tl.load(columns_ptr + edges, mask=exists, other=0).to(tl.int64)
        dot = tl.zeros((BLOCK_E,), dtype=ACC)
        for offset in range(0, D, BLOCK_D):
            dims = offset + tl.arange(0, BLOCK_D)
            left = tl.load(left_ptr + row * D + dims, mask=dims < D, other=0.0).to(ACC)
            right = tl.load(
                right_ptr + columns[:, None] * D + dims[None, :],
                mask=exists[:, None] & (dims < D)[None, :],
                other=0.0,
            ).to(ACC)
            dot += tl.sum(left[None, :] * right, axis=1)
        tl.store(out_ptr + edges, dot.to(out_ptr.dtype.element_ty), mask=exists)


def launch_sizes(width: int) -> dict[str, int]:
    """Block sizes for rows of a width: a pure function, so that nothing is tuned behind the user's back.

    One warp reads a row of 128 float32 as 16 bytes a lane; the loads of 8 neighbours in flight hide the latency of a
    gather. They take 32 registers of a thread's 64.
    """
    block_d = min(128, triton.next_power_of_2(width))
    return {"BLOCK_E": min(32, max(8, 1024 // block_d)), "BLOCK_D": block_d, "num_warps": 1}


def row_sum_triton(
    rowptr: Tensor,
    columns: Tensor,
    values: Tensor | None,
    scale: Tensor | None,
    constant: float,
    pieces: Tensor,
    splits: Tensor,
    num_slots: int,
    x: Tensor,
    residual: Tensor | None,
    out_scale: float,
) -> Tensor:
    out = torch.empty(rowptr.numel() - 1, x.shape[1], dtype=x.dtype, device=x.device)
    row_sum_into_triton(
        rowptr, columns, values, scale, constant, pieces, splits, num_slots, x, residual, out_scale, out
    )
    return out


def row_sum_into_triton(
    rowptr: Tensor,
    columns: Tensor,
    values: Tensor | None,
    scale: Tensor | None,
    constant: float,
    pieces: Tensor,
    splits: Tensor,
    num_slots: int,
    x: Tensor,
    residual: Tensor | None,
    out_scale: float,
    out: Tensor,
) -> None:
    x = x.contiguous()
    residual = None if residual is None else residual.contiguous()
    width = x.shape[1]
    if out.numel() == 0:
        return
    sizes, acc = launch_sizes(width), accumulator(x.dtype)
    partial = torch.empty(num_slots, width, dtype=accumulation_dtype(x.dtype), device=x.device)
    blocks = triton.cdiv(width, sizes["BLOCK_D"])
    kind = STORED if values is not None else DEGREE_SCALED if scale is not None else CONSTANT
    row_sum_kernel[(pieces.shape[0], blocks)](
        x,
        columns,
        x if values is None else values.contiguous(),
        x if scale is None else scale,
        pieces,
        x if residual is None else residual,
        out,
        partial,
        constant,
        out_scale,
        D=width,
        VALUES=kind,
        HAS_RESIDUAL=residual is not None,
        ACC=acc,
        **sizes,
    )
    if splits.shape[0]:
        add_partials_kernel[(splits.shape[0], blocks)](
            partial,
            splits,
            x if residual is None else residual,
            out,
            out_scale,
            D=width,
            HAS_RESIDUAL=residual is not None,
            BLOCK_S=sizes["BLOCK_E"],
            BLOCK_D=sizes["BLOCK_D"],
            ACC=acc,
            num_warps=sizes["num_warps"],
        )


def edge_dot_triton(rowptr: Tensor, columns: Tensor, pieces: Tensor, left: Tensor, right: Tensor) -> Tensor:
    left, right = left.contiguous(), right.contiguous()
    out = torch.empty(columns.numel(), dtype=right.dtype, device=right.device)
    if out.numel():
        edge_dot_kernel[(pieces.shape[0],)](
            left,
            right,
            columns,
            pieces,
            out,
            D=right.shape[1],
            ACC=accumulator(right.dtype),
            **launch_sizes(right.shape[1]),
        )
    return out
