"""GPU path of cosine_losses: in either direction a program has a few rows of the batch, with all of their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype, scatter_rows
from ..triton_support import accumulator, metrics_of
from . import work
from .cpu import EPS


@triton.jit
def load_vectors(
    table_ptr,  # (R, VECTORS, D)
    rows,  # (BLOCK_B,)
    exists,  # (BLOCK_B,)
    vector: tl.constexpr,
    VECTORS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK_B, BLOCK_D) one of the vectors of each row, 0 outside of it."""
    dims = tl.arange(0, BLOCK_D)
    return tl.load(
        table_ptr + (rows * VECTORS + vector)[:, None] * D + dims[None, :],
        mask=exists[:, None] & (dims < D)[None, :],
        other=0.0,
    ).to(ACC)


@triton.jit
def norms_of(vectors, EPS: tl.constexpr, ACC: tl.constexpr):
    """(BLOCK_B,), at least EPS."""
    norms = tl.sqrt(tl.sum(vectors * vectors, axis=1))
    return tl.maximum(norms, tl.full(norms.shape, EPS, dtype=ACC))


@triton.jit
def row_numbers(rows_ptr, places, exists, HAS_ROWS: tl.constexpr):
    """(BLOCK_B,) int64 rows of a table at places of the batch."""
    if HAS_ROWS:
        return tl.load(rows_ptr + places, mask=exists, other=0).to(tl.int64)
    else:
        return places


@triton.jit(launch_metadata=metrics_of(work.cosine_losses_forward))
def cosine_losses_forward_kernel(
    x_ptr,  # (R, K, D)
    target_ptr,  # (S, L, D)
    rows_ptr,  # (B,), read when HAS_ROWS
    target_rows_ptr,  # (B,), read when HAS_TARGET_ROWS
    partial_ptr,  # (programs, P)
    batch,
    K: tl.constexpr,
    L: tl.constexpr,
    D: tl.constexpr,
    PAIRS: tl.constexpr,  # k, l, k, l, ...
    P: tl.constexpr,
    HAS_ROWS: tl.constexpr,
    HAS_TARGET_ROWS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    places = program * BLOCK_B + tl.arange(0, BLOCK_B)
    exists = places < batch
    rows = row_numbers(rows_ptr, places, exists, HAS_ROWS)
    target_rows = row_numbers(target_rows_ptr, places, exists, HAS_TARGET_ROWS)
    for pair in tl.static_range(P):
        x = load_vectors(x_ptr, rows, exists, PAIRS[2 * pair], K, D, BLOCK_D, ACC)
        target = load_vectors(target_ptr, target_rows, exists, PAIRS[2 * pair + 1], L, D, BLOCK_D, ACC)
        cosines = tl.sum(x * target, axis=1) / norms_of(x, EPS, ACC) / norms_of(target, EPS, ACC)
        tl.store(partial_ptr + program * P + pair, tl.sum(tl.where(exists, 1 - cosines, 0.0), axis=0))


@triton.jit(launch_metadata=metrics_of(work.cosine_losses_backward))
def cosine_losses_backward_kernel(
    grad_ptr,  # (P,)
    x_ptr,  # (R, K, D)
    target_ptr,  # (S, L, D)
    rows_ptr,  # (B,), read when HAS_ROWS
    target_rows_ptr,  # (B,), read when HAS_TARGET_ROWS
    grad_x_ptr,  # (B, K, D)
    batch,
    K: tl.constexpr,
    L: tl.constexpr,
    D: tl.constexpr,
    PAIRS: tl.constexpr,
    P: tl.constexpr,
    HAS_ROWS: tl.constexpr,
    HAS_TARGET_ROWS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    places = tl.program_id(0).to(tl.int64) * BLOCK_B + tl.arange(0, BLOCK_B)
    exists = places < batch
    rows = row_numbers(rows_ptr, places, exists, HAS_ROWS)
    target_rows = row_numbers(target_rows_ptr, places, exists, HAS_TARGET_ROWS)
    dims = tl.arange(0, BLOCK_D)
    for vector in tl.static_range(K):
        x = load_vectors(x_ptr, rows, exists, vector, K, D, BLOCK_D, ACC)
        norms = norms_of(x, EPS, ACC)
        gradient = tl.zeros((BLOCK_B, BLOCK_D), dtype=ACC)
        along = tl.zeros((BLOCK_B,), dtype=ACC)
        for pair in tl.static_range(P):
            if PAIRS[2 * pair] == vector:
                target = load_vectors(target_ptr, target_rows, exists, PAIRS[2 * pair + 1], L, D, BLOCK_D, ACC)
                slopes = tl.load(grad_ptr + pair).to(ACC) / batch / norms / norms_of(target, EPS, ACC)
                gradient -= slopes[:, None] * target
                along += slopes * tl.sum(x * target, axis=1)
        # Below the smallest norm a vector is divided by a constant.
        varies = norms > tl.full((BLOCK_B,), EPS, dtype=ACC)
        gradient += tl.where(varies, along / norms / norms, 0.0)[:, None] * x
        tl.store(
            grad_x_ptr + (places * K + vector)[:, None] * D + dims[None, :],
            gradient.to(grad_x_ptr.dtype.element_ty),
            mask=exists[:, None] & (dims < D)[None, :],
        )


def launch_sizes(width: int) -> dict[str, int]:
    """Block sizes for vectors of a width, a pure function.

    A thread holds eight numbers of a vector of x and of one of the target's; one warp has four rows of 64.
    """
    block_d = triton.next_power_of_2(max(width, 1))
    block_b = max(1, 256 // block_d)
    return {"BLOCK_B": block_b, "BLOCK_D": block_d, "num_warps": min(16, max(1, block_b * block_d // 256))}


def cosine_losses_forward_triton(
    x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    batch, sizes = len(x) if rows is None else len(rows), launch_sizes(x.shape[2])
    programs, count = triton.cdiv(batch, sizes["BLOCK_B"]), len(pairs) // 2
    partial = x.new_empty(programs, count, dtype=accumulation_dtype(x.dtype))
    if batch:
        cosine_losses_forward_kernel[(programs,)](
            *_tensors(x, target, rows, target_rows), partial, batch, **_constants(x, target, rows, target_rows, pairs)
        )
    return (partial.sum(0) / max(batch, 1)).to(x.dtype)


def cosine_losses_backward_triton(
    grad: Tensor, x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    batch, sizes = len(x) if rows is None else len(rows), launch_sizes(x.shape[2])
    dtype = x.dtype if rows is None else accumulation_dtype(x.dtype)
    grad_x = torch.empty(batch, *x.shape[1:], dtype=dtype, device=x.device)
    if grad_x.numel():
        cosine_losses_backward_kernel[(triton.cdiv(batch, sizes["BLOCK_B"]),)](
            grad.contiguous(),
            *_tensors(x, target, rows, target_rows),
            grad_x,
            batch,
            **_constants(x, target, rows, target_rows, pairs),
        )
    return grad_x if rows is None else scatter_rows(grad_x, rows, x)


def _tensors(x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None) -> tuple[Tensor, ...]:
    """What both kernels read; x where rows are not given, for an argument cannot be left out."""
    x = x.contiguous()
    return x, target.contiguous(), *(x if ids is None else ids.contiguous() for ids in (rows, target_rows))


def _constants(x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]):
    return {
        "K": x.shape[1],
        "L": target.shape[1],
        "D": x.shape[2],
        "PAIRS": tuple(pairs),
        "P": len(pairs) // 2,
        "HAS_ROWS": rows is not None,
        "HAS_TARGET_ROWS": target_rows is not None,
        "EPS": EPS,
        "ACC": accumulator(x.dtype),
        **launch_sizes(x.shape[2]),
    }
