"""GPU path of normalize_rows: a program owns a few rows and reads each once, in either direction."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator
from .cpu import NORM_EPS


@triton.jit
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


@triton.jit
def normalize_rows_backward_kernel(
    grad_ptr,  # (R, D)
    out_ptr,  # (R, D)
    norm_ptr,  # (R,)
    grad_x_ptr,  # (R, D)
    num_rows,
    scale: tl.float64,  # as above
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
    out = tl.load(out_ptr + entries, mask=mask, other=0.0).to(ACC)
    norm = tl.load(norm_ptr + rows, mask=exists, other=1.0)
    scales = tl.full((BLOCK_R,), scale, dtype=ACC)
    # Below the smallest norm the row is divided by a constant, and its gradient only scaled.
    varies = norm > tl.full((BLOCK_R,), EPS, dtype=ACC)
    along = tl.where(varies, tl.sum(grad * out, axis=1) / (scales * scales), 0.0)
    grad_x = (grad - along[:, None] * out) * (scales / norm)[:, None]
    tl.store(grad_x_ptr + entries, grad_x.to(grad_x_ptr.dtype.element_ty), mask=mask)


def launch_sizes(width: int, dtype: torch.dtype) -> dict[str, int]:
    """Block sizes for rows of a width, a pure function.

    A thread holds 64 bytes of rows, four 16-byte loads in flight, and leaves room for enough other threads.
    """
    numbers = 1024 if dtype == torch.float64 else 2048
    block_d = triton.next_power_of_2(max(width, 1))
    block_r = max(1, numbers // block_d)
    return {"BLOCK_R": block_r, "BLOCK_D": block_d, "num_warps": min(16, max(4, 4 * block_r * block_d // numbers))}


def normalize_rows_forward_triton(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    width, sizes = x.shape[-1], launch_sizes(x.shape[-1], x.dtype)
    out = torch.empty_like(x)
    norm = torch.empty(x.shape[:-1], dtype=accumulation_dtype(x.dtype), device=x.device)
    num_rows = norm.numel()
    if num_rows:
        normalize_rows_forward_kernel[(triton.cdiv(num_rows, sizes["BLOCK_R"]),)](
            x, out, norm, num_rows, scale, D=width, EPS=NORM_EPS, ACC=accumulator(x.dtype), **sizes
        )
    return out, norm


def normalize_rows_backward_triton(grad: Tensor, out: Tensor, norm: Tensor, scale: float) -> Tensor:
    grad = grad.contiguous()
    width, sizes = grad.shape[-1], launch_sizes(grad.shape[-1], grad.dtype)
    grad_x = torch.empty_like(grad)
    num_rows = norm.numel()
    if num_rows:
        normalize_rows_backward_kernel[(triton.cdiv(num_rows, sizes["BLOCK_R"]),)](
            grad, out, norm, grad_x, num_rows, scale, D=width, EPS=NORM_EPS, ACC=accumulator(grad.dtype), **sizes
        )
    return grad_x
