"""Launchers of the native ranking: as a whole, and of its steps mask_seen and select."""

from __future__ import annotations

import torch
from torch import Tensor

from ..csr import CSRGraph
from ..native import ELEMENTS, call
from .cpu import mask_seen_cpu, select_cpu

RANKED_WHOLE = (torch.float32, torch.float64)


def rank_native(
    user_vectors: Tensor, item_vectors: Tensor, users: Tensor, k: int, seen: CSRGraph | None
) -> tuple[Tensor, Tensor]:
    """Scores and items (B, k), from vectors of one of the types RANKED_WHOLE."""
    best = user_vectors.new_empty(users.numel(), k)
    ranked = torch.empty(best.shape, dtype=torch.int64)
    if best.numel():
        rowptr, columns = (None, None) if seen is None else (seen.rowptr, seen.columns)
        call(
            "rank", ELEMENTS[best.dtype], 8 if rowptr is None else rowptr.element_size(), user_vectors.contiguous(),
            item_vectors.contiguous(), users.contiguous(), rowptr, columns, len(users), *item_vectors.shape, k, best,
            ranked,
        )  # fmt: skip
    return best, ranked


def mask_seen_native(scores: Tensor, users: Tensor, rowptr: Tensor, columns: Tensor) -> None:
    if not scores.is_contiguous():
        return mask_seen_cpu(scores, users, rowptr, columns)  # it is changed in place
    users = users.long().contiguous()
    call(
        "mask_seen", ELEMENTS[scores.dtype], rowptr.element_size(), scores, users, rowptr, columns, len(users),
        scores.shape[1],
    )  # fmt: skip


def select_native(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if scores.dtype == torch.bfloat16:
        return select_cpu(scores, k)
    scores = scores.contiguous()
    best = scores.new_empty(scores.shape[0], k)
    ranked = torch.empty(best.shape, dtype=torch.int64)
    if best.numel():
        call("select", ELEMENTS[scores.dtype], scores, *scores.shape, k, best, ranked)
    return best, ranked
