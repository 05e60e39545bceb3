"""GPU path of normalize_rows: a program owns a few rows and reads each once, in either direction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import accumulator, metrics_of
from . import work
from .cpu import NORM_EPS, contiguous_parts, empty_gradients, empty_results


@triton.jit(launch_metadata=metrics_of(work.normalize_rows_forward))
def normalize_rows_forward_kernel(
    x_ptr,  # (R, D)
    out_ptr,  # (R, D)
    norm_ptr,  # (R,)
    num_rows,
    scale: tl.float64,  # declared, or float64 rows would get a scale rounded to float32
    D: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    dims = tl.arange(0, BLOCK_D)
    entries = rows[:, None] * D + dims[None, :]
    exists = rows < num_rows
    mask = exists[:, None] & (dims < D)[None, :]

    x = tl.load(x_ptr + entries, mask=mask, other=0.0).to(ACC)
    norm = tl.maximum(tl.sqrt(tl.sum(x * x, axis=1)), tl.full((BLOCK_R,), EPS, dtype=ACC))
    out = x * (tl.full((BLOCK_R,), scale, dtype=ACC) / norm)[:, None]
    tl.store(out_ptr + entries, out.to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(norm_ptr + rows, norm, mask=exists)


@triton.jit(launch_metadata=metrics_of(work.normalize_rows_backward))
def normalize_rows_backward_kernel(
    grad_ptr,  # (R, D)
    grad_norm_ptr,  # (R,), read when HAS_GRAD_NORM
    x_ptr,  # (R, D)
    norm_ptr,  # (R,)
    grad_x_ptr,  # (R, D)
    num_rows,
    scale: tl.float64,  # as above
    HAS_GRAD_NORM: tl.constexpr,
    D: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    dims = tl.arange(0, BLOCK_D)
    entries = rows[:, None] * D + dims[None, :]
    exists = rows < num_rows
    mask = exists[:, None] & (dims < D)[None, :]

    grad = tl.load(grad_ptr + entries, mask=mask, other=0.0).to(ACC)
    x = tl.load(x_ptr + entries, mask=mask, other=0.0).to(ACC)
    norm = tl.load(norm_ptr + rows, mask=exists, other=1.0)
    factor = tl.full((BLOCK_R,), scale, dtype=ACC) / norm
    along = tl.sum(grad * x, axis=1) * factor
    if HAS_GRAD_NORM:
        along -= tl.load(grad_norm_ptr + rows, mask=exists, other=0.0) * norm
    # Below the smallest norm the row is divided by a constant, and its gradient only scaled.
    varies = norm > tl.full((BLOCK_R,), EPS, dtype=ACC)
    along = tl.where(varies, along / norm / norm, 0.0)
    grad_x = grad * factor[:, None] - along[:, None] * x
    tl.store(grad_x_ptr + entries, grad_x.to(grad_x_ptr.dtype.element_ty), mask=mask)


def launch_sizes(width: int, dtype: torch.dtype) -> dict[str, int]:
    """Block sizes for rows of a width, a pure function.

    A thread holds 64 bytes of rows, four 16-byte loads in flight, and leaves room for enough other threads.
    """
    numbers = 1024 if dtype == torch.float64 else 2048
    block_d = triton.next_power_of_2(max(width, 1))
    block_r = max(1, numbers // block_d)
    return {"BLOCK_R": block_r, "BLOCK_D": block_d, "num_warps": min(16, max(4, 4 * block_r * block_d // numbers))}


def normalize_rows_forward_triton(tables: Sequence[Tensor], scale: float) -> tuple[Tensor, Tensor]:
    results = empty_results(tables)
    width, dtype = tables[0].shape[-1], tables[0].dtype
    sizes = launch_sizes(width, dtype)
    for x, out, norms in contiguous_parts(tables, *results):
        if norms.numel():
            normalize_rows_forward_kernel[(triton.cdiv(norms.numel(), sizes["BLOCK_R"]),)](
                x, out, norms, norms.numel(), scale, D=width, EPS=NORM_EPS, ACC=accumulator(dtype), **sizes
            )
    return results


def normalize_rows_backward_triton(
    grad: Tensor, grad_norms: Tensor | None, norms: Tensor, tables: Sequence[Tensor], scale: float
) -> list[Tensor]:
    gradients = empty_gradients(tables)
    width, dtype = tables[0].shape[-1], tables[0].dtype
    sizes = launch_sizes(width, dtype)
    for grad_x, (x, dy, d_norm, norm) in zip(gradients, contiguous_parts(tables, grad, grad_norms, norms)):
        if norm.numel():
            normalize_rows_backward_kernel[(triton.cdiv(norm.numel(), sizes["BLOCK_R"]),)](
                dy,
                norm if d_norm is None else d_norm,
                x,
                norm,
                grad_x,
                norm.numel(),
                scale,
                HAS_GRAD_NORM=d_norm is not None,
                D=width,
                EPS=NORM_EPS,
                ACC=accumulator(dtype),
                **sizes,
            )
    return gradients
