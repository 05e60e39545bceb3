"""GPU path of a ranking's two steps: scores and top-k are library calls, these kernels stand before and after it."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import accumulator, metrics_of
from . import work


@triton.jit(launch_metadata=metrics_of(work.mask_seen))
def mask_seen_kernel(
    scores_ptr,  # (B, I)
    users_ptr,  # (B,) int64
    rowptr_ptr,  # (U + 1,)
    columns_ptr,  # (edges,)
    num_items,
    BLOCK_E: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    user = tl.load(users_ptr + row)
    start = tl.load(rowptr_ptr + user)
    stop = tl.load(rowptr_ptr + user + 1)
    for first in range(start, stop, BLOCK_E):
        edges = first + tl.arange(0, BLOCK_E)
        items = tl.load(columns_ptr + edges, mask=edges < stop, other=0).to(tl.int64)
        tl.store(scores_ptr + row * num_items + items, float("-inf"), mask=edges < stop)


@triton.jit(launch_metadata=metrics_of(work.settle_ties))
def settle_ties_kernel(
    scores_ptr,  # (B, I)
    values_ptr,  # (B, WANTED), descending
    candidates_ptr,  # (B, WANTED) int64
    out_values_ptr,  # (B, K)
    out_items_ptr,  # (B, K) int64
    num_items,
    K: tl.constexpr,
    WANTED: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_I: tl.constexpr,
    ACC: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    values_ptr += row * WANTED
    candidates_ptr += row * WANTED
    out_values_ptr += row * K
    out_items_ptr += row * K

    # The last of the k may equal one that was left out. Which of these came along is chance, so all make room; NaN,
    # which nothing equals, stands for no such score. (Where all items are ranked the last is compared with itself, and
    # finds its place again.)
    last = tl.load(values_ptr + K - 1).to(ACC)
    following = tl.load(values_ptr + WANTED - 1).to(ACC)
    open_score = tl.where((following == last) & (last > float("-inf")), last, float("nan"))

    # A candidate that stays moves past those equal to it with a smaller id. (In what differs, NaN too, top-k's order
    # holds; it is the only order that NaN has.)
    kept = 0
    for first in range(0, K, BLOCK_K):
        places = first + tl.arange(0, BLOCK_K)
        value = tl.load(values_ptr + places, mask=places < K, other=float("nan")).to(ACC)
        item = tl.load(candidates_ptr + places, mask=places < K, other=0)
        place = places
        for other_first in range(0, K, BLOCK_K):
            other_places = other_first + tl.arange(0, BLOCK_K)
            other_value = tl.load(values_ptr + other_places, mask=other_places < K, other=float("nan")).to(ACC)
            other_item = tl.load(candidates_ptr + other_places, mask=other_places < K, other=0)
            equal = value[:, None] == other_value[None, :]
            smaller = equal & (other_item[None, :] < item[:, None])
            before = equal & (other_places[None, :] < places[:, None])
            place += tl.sum(smaller.to(tl.int32) - before.to(tl.int32), axis=1)
        stays = (places < K) & (value != open_score)
        kept += tl.sum(stays.to(tl.int32))
        tl.store(out_values_ptr + place, value.to(out_values_ptr.dtype.element_ty), mask=stays)
        tl.store(out_items_ptr + place, tl.where(value == float("-inf"), -1, item), mask=stays)

    # The room goes to the first items with that score.
    first = 0
    while (kept < K) & (first < num_items):
        items = first + tl.arange(0, BLOCK_I)
        score = tl.load(scores_ptr + row * num_items + items, mask=items < num_items, other=float("nan")).to(ACC)
        equal = (score == open_score).to(tl.int32)
        place = kept + tl.cumsum(equal, axis=0) - 1
        taken = (equal != 0) & (place < K)
        tl.store(out_values_ptr + place, score.to(out_values_ptr.dtype.element_ty), mask=taken)
        tl.store(out_items_ptr + place, items.to(tl.int64), mask=taken)
        kept += tl.sum(equal)
        first += BLOCK_I


def launch_sizes(k: int) -> dict[str, int]:
    """64 x 64 comparisons at a time, which four warps hold in registers."""
    return {"BLOCK_K": min(64, max(16, triton.next_power_of_2(k))), "BLOCK_I": 1024, "num_warps": 4}


def mask_seen_triton(scores: Tensor, users: Tensor, rowptr: Tensor, columns: Tensor) -> None:
    if scores.numel() and columns.numel():
        # A warp per user: most have seen fewer items than 128.
        mask_seen_kernel[(scores.shape[0],)](
            scores, users.contiguous(), rowptr, columns, scores.shape[1], BLOCK_E=128, num_warps=1
        )


def select_triton(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    scores, wanted = scores.contiguous(), min(k + 1, scores.shape[1])
    out_values = torch.empty(scores.shape[0], k, dtype=scores.dtype, device=scores.device)
    out_items = torch.empty(scores.shape[0], k, dtype=torch.int64, device=scores.device)
    if out_values.numel():
        values, candidates = torch.topk(scores, wanted, dim=1)
        settle_ties_kernel[(scores.shape[0],)](
            scores,
            values,
            candidates,
            out_values,
            out_items,
            scores.shape[1],
            K=k,
            WANTED=wanted,
            ACC=accumulator(scores.dtype),
            **launch_sizes(k),
        )
    return out_values, out_items
