"""Recommendations from a finished run, in the ids of the data it was trained on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files import Checkpoints, Folder
from ..kernels import CSRGraph, topk
from .catalogue import load_catalogue


class Recommender:
    """Ranks the catalogue for users and items by their external ids.

    Example::

        recommender = Recommender.load("runs/baby")
        for item, score in recommender.recommend(["A1B2"], k=10)[0]:
            ...
    """

    def __init__(
        self, user_vectors: Tensor, item_vectors: Tensor, seen: CSRGraph, user_ids: Sequence, item_ids: Sequence
    ):
        """
        Args:
            user_vectors, item_vectors: (U, E), (I, E).
            seen: (U, I) every known interaction.
            user_ids, item_ids: external id of each row.
        """
        self.user_vectors, self.item_vectors, self.seen = user_vectors, item_vectors, seen
        self.user_ids, self.item_ids = list(user_ids), list(item_ids)
        self._user_rows = {str(external): row for row, external in enumerate(self.user_ids)}
        self._item_rows = {str(external): row for row, external in enumerate(self.item_ids)}

    @classmethod
    def load(cls, run: str | Path) -> Recommender:
        """From a run folder; the dataset itself is not needed.

        Raises:
            InputError: not a run folder, or no epoch was finished in it.
        """
        folder = Folder(run)
        if not folder.has("config.yaml"):
            raise InputError(f"{run}: not a run folder (no config.yaml in it); give the --output of a training run")
        _, tensors = Checkpoints(folder).load("best")
        ids, seen = load_catalogue(folder)
        user_vectors, item_vectors = tensors["user_embeddings"], tensors["item_embeddings"]
        graph = CSRGraph(seen["rowptr"], seen["columns"], (len(user_vectors), len(item_vectors)))
        return cls(user_vectors, item_vectors, graph, ids["user_ids"], ids["item_ids"])

    def recommend(
        self, users: Iterable[Any], k: int = 10, *, filter_seen: bool = True
    ) -> list[list[tuple[Any, float]]]:
        """The k best items of each user as (external id, score), best first; fewer where fewer are left.

        Args:
            users: external ids, as in the data or as their text.
            filter_seen: leave out every item the user is known to have interacted with.

        Raises:
            InputError: an unknown user, one id instead of several, or k < 1.
        """
        rows = self._rows(self._user_rows, users, "user")
        _require_positive(k)
        seen = self.seen if filter_seen else None
        return self._named(*topk(self.user_vectors, self.item_vectors, k, users=rows, seen=seen))

    def similar_items(self, items: Iterable[Any], k: int = 10) -> list[list[tuple[Any, float]]]:
        """The k items nearest to each item by cosine of their embeddings, as (external id, cosine), itself left out.

        Raises:
            InputError: an unknown item, one id instead of several, or k < 1.
        """
        rows = self._rows(self._item_rows, items, "item")
        _require_positive(k)
        unit = torch.nn.functional.normalize(self.item_vectors, dim=1)
        count = len(self.item_ids)
        itself = CSRGraph(torch.arange(count + 1), torch.arange(count), (count, count))
        return self._named(*topk(unit, unit, k, users=rows, seen=itself))

    def user_id(self, user: Any) -> Any:
        """A user's id as the data have it, number or text, from what :meth:`recommend` takes."""
        return self.user_ids[self._row(self._user_rows, user, "user")]

    def item_id(self, item: Any) -> Any:
        """The same for an item."""
        return self.item_ids[self._row(self._item_rows, item, "item")]

    def _named(self, scores: Tensor, items: Tensor) -> list[list[tuple[Any, float]]]:
        return [
            [(self.item_ids[item], score) for item, score in zip(item_row, score_row) if item >= 0]
            for item_row, score_row in zip(items.tolist(), scores.tolist())
        ]

    def _rows(self, rows: dict[str, int], externals: Iterable[Any], kind: str) -> Tensor:
        if isinstance(externals, (str, bytes)):  # iterable too, into ids of one letter
            raise InputError(f"{kind}s: give a list of ids, [{externals!r}], not one id alone")
        return torch.tensor([self._row(rows, external, kind) for external in externals], dtype=torch.int64)

    @staticmethod
    def _row(rows: dict[str, int], external: Any, kind: str) -> int:
        row = rows.get(str(external))
        if row is None:
            near = difflib.get_close_matches(str(external), rows, n=1) if len(rows) < 200_000 else []
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{kind} {external}: not in the data that this model was trained on{hint}")
        return row


def _require_positive(k: int) -> None:
    if k < 1:
        raise InputError(f"k: {k} must be 1 or more")
