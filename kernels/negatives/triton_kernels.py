"""GPU path of draw_negatives: a thread per draw, from its random bits to its item."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import metrics_of
from . import work

BLOCK = 128  # one draw for each thread of four warps; a step's few thousand draws still reach many multiprocessors


@triton.jit(launch_metadata=metrics_of(work.draw_negatives))
def draw_negatives_kernel(
    candidates_ptr,  # (C,) int64
    rowptr_ptr,  # (users + 1,) int64
    keys_ptr,  # (interactions,) int64
    users_ptr,  # (B,) int64
    bits_ptr,  # (B,) int64
    out_ptr,  # (B,) int64
    num_candidates,
    num_draws,
    search_steps,
    BLOCK: tl.constexpr,
):
    draws = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = draws < num_draws
    user = tl.load(users_ptr + draws, mask=exists, other=0)
    start = tl.load(rowptr_ptr + user, mask=exists, other=0)
    stop = tl.load(rowptr_ptr + user + 1, mask=exists, other=0)
    draw = tl.load(bits_ptr + draws, mask=exists, other=0) % (num_candidates - (stop - start))

    # The first of the user's keys above the draw's: a loop of one length for all, in which who has found it waits.
    key = user * (num_candidates + 1) + draw
    low, high = start, stop
    for _ in range(search_steps):
        middle = (low + high) // 2
        searching = low < high
        below = tl.load(keys_ptr + middle, mask=searching, other=0) <= key
        low = tl.where(searching & below, middle + 1, low)
        high = tl.where(searching & (below == 0), middle, high)
    item = tl.load(candidates_ptr + draw + (low - start), mask=exists, other=0)
    tl.store(out_ptr + draws, item, mask=exists)


def draw_negatives_triton(candidates: Tensor, rowptr: Tensor, keys: Tensor, users: Tensor, bits: Tensor) -> Tensor:
    users, bits = users.contiguous(), bits.contiguous()
    out = torch.empty_like(users)
    if out.numel():
        # A user has at most C - 1 of the candidates, so this many halvings find a place among them.
        steps = (candidates.numel() - 1).bit_length()
        draw_negatives_kernel[(triton.cdiv(out.numel(), BLOCK),)](
            candidates, rowptr, keys, users, bits, out, candidates.numel(), out.numel(), steps, BLOCK=BLOCK, num_warps=4
        )
    return out
