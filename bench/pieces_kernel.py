"""Sums over pieces of rows with several pieces a program: what another launch of row_sum's kernel would gain."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def sums_of_pieces_kernel(
    x_ptr,  # (C, D)
    columns_ptr,  # (edges,)
    scale_ptr,  # (C,)
    pieces_ptr,  # (pieces, 4): row, first edge, last edge + 1, slot
    out_ptr,  # (pieces, D)
    num_pieces,
    D: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_row = dims < D
    for number in range(PIECES):
        piece = tl.program_id(0).to(tl.int64) * PIECES + number
        last = tl.minimum(piece, num_pieces - 1)  # what a program has too many is read and not written
        row = tl.load(pieces_ptr + last * 4).to(tl.int64)
        start = tl.load(pieces_ptr + last * 4 + 1)
        stop = tl.load(pieces_ptr + last * 4 + 2)
        total = tl.zeros((BLOCK_D,), dtype=tl.float32)
        for first in range(start, stop, BLOCK_E):
            edges = first + tl.arange(0, BLOCK_E)
            exists = edges < stop
            columns = tl.load(columns_ptr + edges, mask=exists, other=0).to(tl.int64)
            rows = tl.load(
                x_ptr + columns[:, None] * D + dims[None, :], mask=exists[:, None] & in_row[None, :], other=0.0
            )
            weight = tl.load(scale_ptr + columns, mask=exists, other=0.0)
            total += tl.sum(weight[:, None] * rows, axis=0)
        total *= tl.load(scale_ptr + row)
        if piece < num_pieces:
            tl.store(out_ptr + piece * D + dims, total, mask=in_row)


def sums_of_pieces(
    x: Tensor, columns: Tensor, scale: Tensor, pieces: Tensor, together: int, block: int, num_warps: int
) -> Tensor:
    """(pieces, D) float32: ``scale`` of a piece's row times the sum of ``scale[c] x[c]`` over its edges' columns c.

    Args:
        together: pieces of a program, one after the other. block: edges taken at once.
    """
    out = torch.empty(len(pieces), x.shape[1], device=x.device)
    block_d = min(128, triton.next_power_of_2(x.shape[1]))
    sums_of_pieces_kernel[(triton.cdiv(len(pieces), together), triton.cdiv(x.shape[1], block_d))](
        x,
        columns,
        scale,
        pieces,
        out,
        len(pieces),
        D=x.shape[1],
        PIECES=together,
        BLOCK_E=block,
        BLOCK_D=block_d,
        num_warps=num_warps,
    )
    return out
