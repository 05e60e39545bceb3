"""GPU path of edge_softmax: a program per piece of a row, and for rows of several pieces a second kernel.

The second kernel's programs share out a long row's edges; each of them puts the pieces' sums together by itself, in one
order, so that all have the same bits and nobody waits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..csr import EDGES_PER_PIECE
from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work

SHARES = 16  # programs of a long row


@triton.jit(launch_metadata=metrics_of(work.edge_softmax_forward))
def edge_softmax_forward_kernel(
    scores_ptr,  # (edges,)
    pieces_ptr,  # (pieces, 4): row, first edge, last edge + 1, slot or -1
    alpha_ptr,  # (edges,)
    partial_ptr,  # (slots, 2): largest score, sum of exp(score - largest)
    BLOCK_E: tl.constexpr,  # no piece has more edges
    ACC: tl.constexpr,
):
    piece = tl.program_id(0).to(tl.int64) * 4
    start = tl.load(pieces_ptr + piece + 1)
    stop = tl.load(pieces_ptr + piece + 2)
    if start == stop:
        return  # a row without edges
    slot = tl.load(pieces_ptr + piece + 3).to(tl.int64)
    edges = start + tl.arange(0, BLOCK_E)
    exists = edges < stop

    scores = tl.load(scores_ptr + edges, mask=exists, other=-float("inf")).to(ACC)
    largest = tl.max(scores, axis=0)
    exponent = tl.where(exists, tl.exp(scores - largest), 0.0)
    total = tl.sum(exponent, axis=0)
    if slot >= 0:
        tl.store(partial_ptr + slot * 2, largest)
        tl.store(partial_ptr + slot * 2 + 1, total)
    else:
        tl.store(alpha_ptr + edges, (exponent / total).to(alpha_ptr.dtype.element_ty), mask=exists)


@triton.jit(launch_metadata=metrics_of(work.long_rows_forward))
def long_rows_forward_kernel(
    scores_ptr,  # (edges,)
    rowptr_ptr,  # (R + 1,)
    splits_ptr,  # (splits, 3): row, first slot, last slot + 1
    partial_ptr,  # (slots, 2)
    alpha_ptr,  # (edges,)
    SHARES: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_E: tl.constexpr,
    ACC: tl.constexpr,
):
    split = tl.program_id(0).to(tl.int64) * 3
    row = tl.load(splits_ptr + split).to(tl.int64)
    start = tl.load(splits_ptr + split + 1).to(tl.int64)
    stop = tl.load(splits_ptr + split + 2).to(tl.int64)

    largest = tl.full((BLOCK_S,), -float("inf"), dtype=ACC)
    for first in range(start, stop, BLOCK_S):
        slots = first + tl.arange(0, BLOCK_S)
        of_piece = tl.load(partial_ptr + slots * 2, mask=slots < stop, other=-float("inf"))
        largest = tl.maximum(largest, of_piece)
    of_row = tl.max(largest, axis=0)
    total = tl.zeros((BLOCK_S,), dtype=ACC)
    for first in range(start, stop, BLOCK_S):
        slots = first + tl.arange(0, BLOCK_S)
        of_piece = tl.load(partial_ptr + slots * 2, mask=slots < stop, other=0.0)
        exponents = tl.load(partial_ptr + slots * 2 + 1, mask=slots < stop, other=0.0)
        total += tl.where(slots < stop, exponents * tl.exp(of_piece - of_row), 0.0)
    denominator = tl.sum(total, axis=0)

    last = tl.load(rowptr_ptr + row + 1)
    for first in range(tl.load(rowptr_ptr + row) + tl.program_id(1) * BLOCK_E, last, SHARES * BLOCK_E):
        edges = first + tl.arange(0, BLOCK_E)
        scores = tl.load(scores_ptr + edges, mask=edges < last, other=0.0).to(ACC)
        alpha = tl.exp(scores - of_row) / denominator
        tl.store(alpha_ptr + edges, alpha.to(alpha_ptr.dtype.element_ty), mask=edges < last)


@triton.jit(launch_metadata=metrics_of(work.edge_softmax_backward))
def edge_softmax_backward_kernel(
    grad_ptr,  # (edges,)
    alpha_ptr,  # (edges,)
    pieces_ptr,  # (pieces, 4)
    out_ptr,  # (edges,)
    partial_ptr,  # (slots,): sum of alpha * grad
    BLOCK_E: tl.constexpr,
    ACC: tl.constexpr,
):
    piece = tl.program_id(0).to(tl.int64) * 4
    start = tl.load(pieces_ptr + piece + 1)
    stop = tl.load(pieces_ptr + piece + 2)
    if start == stop:
        return  # a row without edges
    slot = tl.load(pieces_ptr + piece + 3).to(tl.int64)
    edges = start + tl.arange(0, BLOCK_E)
    exists = edges < stop

    alpha = tl.load(alpha_ptr + edges, mask=exists, other=0.0).to(ACC)
    grad = tl.load(grad_ptr + edges, mask=exists, other=0.0).to(ACC)
    along = tl.sum(alpha * grad, axis=0)
    if slot >= 0:
        tl.store(partial_ptr + slot, along)
    else:
        tl.store(out_ptr + edges, (alpha * (grad - along)).to(out_ptr.dtype.element_ty), mask=exists)


@triton.jit(launch_metadata=metrics_of(work.long_rows_backward))
def long_rows_backward_kernel(
    grad_ptr,  # (edges,)
    alpha_ptr,  # (edges,)
    rowptr_ptr,  # (R + 1,)
    splits_ptr,  # (splits, 3)
    partial_ptr,  # (slots,)
    out_ptr,  # (edges,)
    SHARES: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_E: tl.constexpr,
    ACC: tl.constexpr,
):
    split = tl.program_id(0).to(tl.int64) * 3
    row = tl.load(splits_ptr + split).to(tl.int64)
    start = tl.load(splits_ptr + split + 1).to(tl.int64)
    stop = tl.load(splits_ptr + split + 2).to(tl.int64)

    total = tl.zeros((BLOCK_S,), dtype=ACC)
    for first in range(start, stop, BLOCK_S):
        slots = first + tl.arange(0, BLOCK_S)
        total += tl.load(partial_ptr + slots, mask=slots < stop, other=0.0)
    along = tl.sum(total, axis=0)

    last = tl.load(rowptr_ptr + row + 1)
    for first in range(tl.load(rowptr_ptr + row) + tl.program_id(1) * BLOCK_E, last, SHARES * BLOCK_E):
        edges = first + tl.arange(0, BLOCK_E)
        alpha = tl.load(alpha_ptr + edges, mask=edges < last, other=0.0).to(ACC)
        grad = tl.load(grad_ptr + edges, mask=edges < last, other=0.0).to(ACC)
        tl.store(out_ptr + edges, (alpha * (grad - along)).to(out_ptr.dtype.element_ty), mask=edges < last)


def piece_sizes() -> dict[str, int]:
    """Block sizes for pieces of rows: one warp, four edges a lane."""
    return {"BLOCK_E": EDGES_PER_PIECE, "num_warps": 1}


def row_sizes() -> dict[str, int]:
    """Block sizes for long rows: 256 pieces' sums, or 512 edges, at a time for four warps."""
    return {"SHARES": SHARES, "BLOCK_S": 256, "BLOCK_E": 512, "num_warps": 4}


def edge_softmax_forward_triton(
    rowptr: Tensor, rows: Tensor, pieces: Tensor, splits: Tensor, num_slots: int, scores: Tensor
) -> Tensor:
    scores = scores.contiguous()
    alpha = torch.empty_like(scores)
    if alpha.numel() == 0:
        return alpha
    acc = accumulator(scores.dtype)
    partial = torch.empty(num_slots, 2, dtype=accumulation_dtype(scores.dtype), device=scores.device)
    edge_softmax_forward_kernel[(pieces.shape[0],)](scores, pieces, alpha, partial, ACC=acc, **piece_sizes())
    if splits.shape[0]:
        long_rows_forward_kernel[(splits.shape[0], SHARES)](
            scores, rowptr, splits, partial, alpha, ACC=acc, **row_sizes()
        )
    return alpha


def edge_softmax_backward_triton(
    rowptr: Tensor, rows: Tensor, pieces: Tensor, splits: Tensor, num_slots: int, grad: Tensor, alpha: Tensor
) -> Tensor:
    grad, alpha = grad.contiguous(), alpha.contiguous()
    out = torch.empty_like(alpha)
    if out.numel() == 0:
        return out
    acc = accumulator(alpha.dtype)
    partial = torch.empty(num_slots, dtype=accumulation_dtype(alpha.dtype), device=alpha.device)
    edge_softmax_backward_kernel[(pieces.shape[0],)](grad, alpha, pieces, out, partial, ACC=acc, **piece_sizes())
    if splits.shape[0]:
        long_rows_backward_kernel[(splits.shape[0], SHARES)](
            grad, alpha, rowptr, splits, partial, out, ACC=acc, **row_sizes()
        )
    return out
