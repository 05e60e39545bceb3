"""GPU path of dropout: a thread hashes the numbers of its elements while it waits for them."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_counted_bits import bits_key, counted_bits
from ..triton_support import accumulator, metrics_of
from . import work
from .cpu import lowest_kept


@triton.jit(launch_metadata=metrics_of(work.dropout))
def dropout_kernel(
    x_ptr,  # (n,)
    seed_ptr,  # () int64
    rows_ptr,  # (n / WIDTH,) int64, read when HAS_ROWS
    out_ptr,  # (n,)
    count,
    least,  # int32: the least hash whose element stays
    scale: tl.float64,  # declared, or float64 elements would get a scale rounded to float32
    WIDTH: tl.constexpr,
    STREAM: tl.constexpr,
    HAS_ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    elements = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = elements < count
    x = tl.load(x_ptr + elements, mask=exists, other=0.0).to(ACC)

    low, high = bits_key(tl.load(seed_ptr), STREAM)
    if HAS_ROWS:
        numbers = tl.load(rows_ptr + elements // WIDTH, mask=exists, other=0) * WIDTH + elements % WIDTH
    else:
        numbers = elements
    kept = counted_bits(numbers, low, high).to(tl.int32, bitcast=True) >= least
    out = tl.where(kept, x * tl.full((BLOCK,), scale, dtype=ACC), 0.0)
    tl.store(out_ptr + elements, out.to(out_ptr.dtype.element_ty), mask=exists)


def launch_sizes(dtype: torch.dtype) -> dict[str, int]:
    """Block sizes, a pure function: a thread has 32 bytes of x, two 16-byte loads, and leaves room for many others."""
    return {"BLOCK": 128 * 32 // dtype.itemsize, "num_warps": 4}


def dropout_apply_triton(x: Tensor, seed: Tensor, rows: Tensor | None, share: float, stream: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    count, sizes = x.numel(), launch_sizes(x.dtype)
    if count:
        dropout_kernel[(triton.cdiv(count, sizes["BLOCK"]),)](
            x,
            seed,
            seed if rows is None else rows.contiguous(),
            out,
            count,
            lowest_kept(share),
            1 / (1 - share),
            WIDTH=1 if rows is None else count // len(rows),
            STREAM=stream,
            HAS_ROWS=rows is not None,
            ACC=accumulator(x.dtype),
            **sizes,
        )
    return out
