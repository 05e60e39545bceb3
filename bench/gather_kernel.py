"""Reads rows of a table at random and little else: what a product with a graph could reach on a GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def sum_of_bags_kernel(
    table_ptr,  # (C, D)
    index_ptr,  # (bags * BAG,)
    out_ptr,  # (bags, D)
    D: tl.constexpr,
    BAG: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64)
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_row = dims < D
    total = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for first in range(0, BAG, BLOCK_E):
        rows = tl.load(index_ptr + bag * BAG + first + tl.arange(0, BLOCK_E)).to(tl.int64)
        values = tl.load(table_ptr + rows[:, None] * D + dims[None, :], mask=in_row[None, :], other=0.0)
        total += tl.sum(values, axis=0)
    tl.store(out_ptr + bag * D + dims, total, mask=in_row)


def sum_of_bags(table: Tensor, index: Tensor, bag: int, block: int, num_warps: int) -> Tensor:
    """(bags, D) sums of ``bag`` rows each of a float32 table; ``index`` (bags * bag,), ``block`` rows read at once."""
    if index.numel() % bag or bag % block:
        raise ValueError(f"{index.numel()} rows do not fill bags of {bag}, or those not blocks of {block}")
    bags, width = index.numel() // bag, table.shape[1]
    out = torch.empty(bags, width, device=table.device)
    block_d = min(128, triton.next_power_of_2(width))
    sum_of_bags_kernel[(bags, triton.cdiv(width, block_d))](
        table, index, out, D=width, BAG=bag, BLOCK_E=block, BLOCK_D=block_d, num_warps=num_warps
    )
    return out
