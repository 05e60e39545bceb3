"""Full-catalogue ranking: score, mask what was seen, select."""

from __future__ import annotations

import torch
from torch import Tensor

from ..csr import CSRGraph, check_ids
from ..dispatch import implementation, use_reference
from .native import RANKED_WHOLE, rank_native
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
    compiling = torch.compiler.is_compiling()
    if not compiling and implementation(users.device) == "native" and user_vectors.dtype in RANKED_WHOLE:
        return rank_native(user_vectors, item_vectors, users, k, seen)
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

    Equal scores are ranked by ascending item id. A score of -inf is never returned.

    Args:
        user_vectors: (U, D) of a floating-point type. item_vectors: (I, D) of the same.
        k: 1 or more; at most I are returned.
        users: (B,) integer rows to rank for; all of them when None.
        seen: (U, I) graph of items never to return, usually the train interactions.

    Returns:
        scores: (B, min(k, I)), descending; -inf where a user has fewer than k items left.
        items: (B, min(k, I)) int64; -1 there.

    Raises:
        ValueError: shapes that do not match, k < 1, a row out of range, or a score that is NaN or +inf, which would
            rank first; the message names the first such user or item. (``torch.compile`` looks at no value.)
        TypeError: vectors that are not floating point or of two types, or users that are not integers.
    """
    _check(user_vectors, item_vectors, k, users, seen)
    shape = (user_vectors.shape[0], item_vectors.shape[0])
    if users is None:
        users = torch.arange(shape[0], device=user_vectors.device)
    looks_at_values = not torch.compiler.is_compiling()
    if looks_at_values:
        check_ids("users", users, shape[0])
    users = users.long()
    rank = topk_reference if use_reference(user_vectors.device) else _rank
    scores, items = rank(user_vectors, item_vectors, users, min(k, shape[1]), seen)
    if looks_at_values and items.shape[1]:
        _require_finite(scores[:, 0], user_vectors, item_vectors, users)
    return scores, items


def _check(user_vectors: Tensor, item_vectors: Tensor, k: int, users: Tensor | None, seen: CSRGraph | None) -> None:
    if user_vectors.ndim != 2 or item_vectors.ndim != 2 or user_vectors.shape[1] != item_vectors.shape[1]:
        raise ValueError(
            f"user_vectors {tuple(user_vectors.shape)} and item_vectors {tuple(item_vectors.shape)} "
            "must be (U, D) and (I, D)"
        )
    if not user_vectors.is_floating_point() or user_vectors.dtype != item_vectors.dtype:
        raise TypeError(
            f"user_vectors are {user_vectors.dtype} and item_vectors {item_vectors.dtype}, expected one floating-point "
            "type: call .float() on both"
        )
    if k < 1:
        raise ValueError(f"k={k}: must be 1 or more")
    shape = (user_vectors.shape[0], item_vectors.shape[0])
    if seen is not None and tuple(seen.shape) != shape:
        raise ValueError(f"seen has shape {tuple(seen.shape)}, expected {shape}")
    if users is None:
        return
    if users.dtype == torch.bool:
        raise TypeError("users is a boolean mask, expected row numbers: call users.nonzero().flatten()")
    if users.is_floating_point() or users.is_complex():
        raise TypeError(f"users are {users.dtype}, expected integer row numbers")
    if users.ndim != 1:
        raise ValueError(f"users has shape {tuple(users.shape)}, expected (B,)")


def _require_finite(best_scores: Tensor, user_vectors: Tensor, item_vectors: Tensor, users: Tensor) -> None:
    """A score that is NaN or +inf ranks first, so each row's best score (B,) tells whether there is one."""
    finite = best_scores < float("inf")
    if finite.all():
        return
    for kind, vectors in (("item", item_vectors), ("user", user_vectors)):
        bad = torch.nonzero(~torch.isfinite(vectors).all(1))
        if len(bad):
            raise ValueError(f"{kind}_vectors: row {int(bad[0])} has a number that is not finite, so it has no rank")
    user = int(users[torch.nonzero(~finite)[0]])
    raise ValueError(
        f"user_vectors: row {user} has a score beyond the range of {user_vectors.dtype}: scale vectors down"
    )
