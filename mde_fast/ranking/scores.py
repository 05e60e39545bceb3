"""What can be ranked: numbers that have an order. NaN and +inf would come first and pass for the best."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def require_vectors(vectors: Tensor, kind: str, count: int | None = None) -> Tensor:
    """Embeddings (N, E) as they can be ranked.

    Args:
        vectors: of any real type; those that are not floating point become float32.
        kind: ``user`` or ``item``, for the message.
        count: N, where it is known.

    Raises:
        InputError: another shape, complex numbers, or a row that is not finite; its number is named.
    """
    if not isinstance(vectors, Tensor):
        raise InputError(f"{kind} embeddings: a {type(vectors).__name__}, expected a torch.Tensor (torch.as_tensor)")
    if vectors.ndim != 2 or (count is not None and len(vectors) != count):
        expected = f"({'N' if count is None else count}, E)"
        raise InputError(f"{kind} embeddings: shape {tuple(vectors.shape)}, expected {expected}")
    vectors = _real(vectors.detach(), f"{kind} embeddings", torch.float32)
    bad = torch.nonzero(~torch.isfinite(vectors).all(1))
    if len(bad):
        row = int(bad[0])
        value = vectors[row][~torch.isfinite(vectors[row])][0]
        raise InputError(
            f"{kind} {row}: its embedding has {float(value)} in it, so it has no rank ({len(bad)} {kind}s have)"
        )
    return vectors


def require_scores(scores: Tensor, users: Tensor, num_items: int) -> Tensor:
    """Scores (B, I) of a block of users as they can be ranked; -inf says never.

    Args:
        scores: of any real type; those that are not floating point become float64, exact up to 2**53.
        users: (B,) rows, for the message.
        num_items: I.

    Raises:
        InputError: another shape, complex numbers, or NaN or +inf; the first such user and item are named.
    """
    if scores.shape != (len(users), num_items):
        raise InputError(f"scores have shape {tuple(scores.shape)}, expected {(len(users), num_items)}")
    scores = _real(scores.detach(), "scores", torch.float64)
    if num_items and not (scores.amax(1) < float("inf")).all():  # NaN is the largest of a row, too
        row, item = torch.nonzero(~(scores < float("inf")))[0].tolist()
        raise InputError(
            f"user {int(users[row])}: the score of item {item} is {float(scores[row, item])}, which has no rank; "
            "-inf would say never"
        )
    return scores


def _real(tensor: Tensor, name: str, instead: torch.dtype) -> Tensor:
    """Integers and booleans in another type."""
    if tensor.is_complex():
        raise InputError(f"{name}: {tensor.dtype} has no order, give real numbers")
    return tensor if tensor.is_floating_point() else tensor.to(instead)
