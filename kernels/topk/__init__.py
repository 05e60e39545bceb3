"""Full-catalogue ranking: score, mask what was seen, select."""

from __future__ import annotations

import torch
from torch import Tensor

from ..csr import CSRGraph
from ..dispatch import use_reference
from .primitives import mask_seen, select
from .reference import topk_reference

__all__ = ["topk"]


def _users_per_block(num_items: int, device: torch.device) -> int:
    """Scores of a block: few enough to stay in cache, 16 MB of float32 on a CPU and 64 MB on a GPU."""
    return max(16, 2 ** (22 if device.type == "cpu" else 24) // max(num_items, 1))


def _rank(
    user_vectors: Tensor, item_vectors: Tensor, users: Tensor, k: int, seen: CSRGraph | None
) -> tuple[Tensor, Tensor]:
    """A block of users at a time: score them all, hide what they have seen, select."""
    item_columns = item_vectors.T
    step = _users_per_block(item_vectors.shape[0], user_vectors.device)
    best_scores = user_vectors.new_empty(users.numel(), k)
    best_items = torch.empty(users.numel(), k, dtype=torch.int64, device=users.device)
    for start in range(0, users.numel(), step):
        block = users[start : start + step]
        scores = user_vectors[block] @ item_columns
        if seen is not None:
            mask_seen(scores, block, seen.rowptr, seen.columns)
        best_scores[start : start + step], best_items[start : start + step] = select(scores, k)
    return best_scores, best_items


@torch.no_grad()
def topk(
    user_vectors: Tensor,
    item_vectors: Tensor,
    k: int,
    *,
    users: Tensor | None = None,
    seen: CSRGraph | None = None,
) -> tuple[Tensor, Tensor]:
    """The k items with the largest inner product for each user, without the full score matrix in memory.

    Equal scores are ranked by ascending item id.

    Args:
        user_vectors: (U, D). item_vectors: (I, D).
        k: 1 or more; at most I are returned.
        users: (B,) integer rows to rank for; all of them when None.
        seen: (U, I) graph of items never to return, usually the train interactions.

    Returns:
        scores: (B, min(k, I)), descending; -inf where a user has fewer than k items left.
        items: (B, min(k, I)) int64; -1 there.

    Raises:
        ValueError: shapes that do not match, or k < 1.
    """
    if user_vectors.ndim != 2 or item_vectors.ndim != 2 or user_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(
            f"user_vectors {tuple(user_vectors.shape)} and item_vectors {tuple(item_vectors.shape)} "
            "must be (U, D) and (I, D)"
        )
    if k < 1:
        raise ValueError(f"k={k}: must be 1 or more")
    shape = (user_vectors.shape[0], item_vectors.shape[0])
    if seen is not None and tuple(seen.shape) != shape:
        raise ValueError(f"seen has shape {tuple(seen.shape)}, expected {shape}")
    if users is not None and users.ndim != 1:
        raise ValueError(f"users has shape {tuple(users.shape)}, expected (B,)")
    if users is None:
        users = torch.arange(shape[0], device=user_vectors.device)
    rank = topk_reference if use_reference(user_vectors.device) else _rank
    return rank(user_vectors, item_vectors, users.long(), min(k, shape[1]), seen)
