"""Lists ranked some users at a time, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels import CSRGraph, topk
from .subgraph import columns_of

RANKED_AT_ONCE = 2**18  # places of lists, a few MB


@dataclass(frozen=True)
class Block:
    """The lists of some users, or of some items.

    Attributes:
        subjects: (B,) whose lists they are, external ids as the data have them.
        rows: (B, K) int64 rows of items, best first; -1 where fewer are left.
        scores: (B, K), float32 or wider; -inf there.
        skipped: (B,) bool, those whom the model knows nothing of, where they are left out.
    """

    subjects: list[Any]
    rows: Tensor
    scores: Tensor
    skipped: Tensor

    @classmethod
    def empty(cls, subjects: list[Any], width: int, vectors: Tensor) -> Block:
        """Lists of ``width`` places with nothing in them, for scores of these vectors."""
        shape, precise = (len(subjects), width), torch.promote_types(vectors.dtype, torch.float32)
        return cls(
            subjects,
            torch.full(shape, -1, dtype=torch.int64),
            torch.full(shape, float("-inf"), dtype=precise),
            torch.zeros(len(subjects), dtype=torch.bool),
        )

    def put(self, whose: Tensor, scores: Tensor, rows: Tensor) -> None:
        """Fill in the lists of ``whose`` (B,) bool."""
        self.scores[whose], self.rows[whose] = scores.to(self.scores.dtype), rows


def rank(
    vectors: Tensor, item_vectors: Tensor, k: int, seen: CSRGraph | None, shelf: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scores and rows (B, K) of the best items for vectors (B, E).

    Args:
        item_vectors: (C, E) of the items on the shelf alone.
        seen: (B, I), what each leaves out.
        shelf: (C,) their rows, None for all.
    """
    if shelf is not None and seen is not None:
        seen = columns_of(seen, shelf)
    scores, places = topk(vectors, item_vectors, k, seen=seen)
    return scores, places if shelf is None else torch.where(places < 0, places, shelf[places.clamp(min=0)])


def of_shelf(vectors: Tensor, shelf: Tensor | None) -> Tensor:
    """The vectors of the items on a shelf, all when it is None."""
    return vectors if shelf is None else vectors[shelf]


def spans(count: int, k: int) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of blocks whose lists have ``RANKED_AT_ONCE`` places in all."""
    step = max(1, RANKED_AT_ONCE // k)
    return ((start, min(start + step, count)) for start in range(0, count, step))
