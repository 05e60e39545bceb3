"""Recommendations from a finished run, in the ids of the data it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files import Checkpoints, Folder
from ..kernels import CSRGraph, topk
from .catalogue import Catalogue, load_catalogue
from .identifiers import Identifiers
from .scores import require_vectors
from .subgraph import columns_of, rows_of, with_empty_row

logger = logging.getLogger("mde_fast")

FILTERS = ("all", "train", "none")
CANDIDATES = ("known", "content", "all")
UNKNOWN = ("refuse", "popular", "skip")

Ranked = list[list[tuple[Any, float]]]


class Recommender:
    """Ranks the catalogue for users and items by their external ids.

    Example::

        recommender = Recommender.load("runs/baby")
        for item, score in recommender.recommend(["A1B2"], k=10)[0]:
            ...

    Ids are given as the data have them or as their text, in any list, array or tensor. ``candidates`` says which items
    may be recommended:

    - ``known`` (the default): items that occur in the data's interactions;
    - ``content``: also cold items, those that have features but no interaction;
    - ``all``: every row, as the metrics rank them; where ids are row numbers some may be nobody's.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor, catalogue: Catalogue):
        """
        Args:
            user_vectors, item_vectors: (U, E), (I, E).
            catalogue: who and what the rows are.

        Raises:
            InputError: vectors of other sizes, or a user or item whose vector is not finite.
        """
        self.users = Identifiers(catalogue.user_ids, "user")
        self.items = Identifiers(catalogue.item_ids, "item")
        self.user_vectors = require_vectors(user_vectors, "user", len(self.users))
        self.item_vectors = require_vectors(item_vectors, "item", len(self.items))
        self.catalogue = catalogue

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
        return cls(tensors["user_embeddings"], tensors["item_embeddings"], load_catalogue(folder))

    @property
    def user_ids(self) -> list[Any]:
        """(U,) external id of each row of ``user_vectors``."""
        return self.users.ids

    @property
    def item_ids(self) -> list[Any]:
        """(I,) external id of each row of ``item_vectors``."""
        return self.items.ids

    def recommend(
        self,
        users: Iterable[Any],
        k: int = 10,
        *,
        filter_seen: str | bool = "all",
        candidates: str = "known",
        unknown: str = "refuse",
    ) -> Ranked:
        """The k best items of each user as (external id, score), best first; fewer where fewer are left.

        Args:
            users: external ids.
            filter_seen: leave out ``all`` items that the user is known to have, those of ``train`` alone, which is what
                the metrics leave out, or ``none``. True and False stand for ``all`` and ``none``.
            candidates: which items may be recommended, see the class.
            unknown: of a user whom the model knows nothing of, for no training interaction or none at all:
                ``refuse``, ``popular`` (the items with the most interactions, their number as the score) or ``skip``
                (an empty list). A warning names those whom it concerned; :meth:`unknown_users` lists them.

        Raises:
            InputError: an unknown user, one id instead of several, k < 1, or an option that the run's files are too old
                for.
        """
        externals, k = self.users.listed(users), _whole(k)
        if isinstance(filter_seen, bool):
            filter_seen = "all" if filter_seen else "none"
        seen = self._seen(_choice("filter_seen", filter_seen, FILTERS))
        items = self._candidates(candidates)
        rows = [self._trained_row(external) for external in externals]
        strangers = [external for external, row in zip(externals, rows) if row is None]
        if _choice("unknown", unknown, UNKNOWN) == "refuse" and strangers:
            raise self._refusal(strangers[0])
        ranked: Ranked = [[] for _ in externals]
        known = [place for place, row in enumerate(rows) if row is not None]
        chosen = torch.tensor([row for row in rows if row is not None], dtype=torch.int64)
        if len(known):
            named = self._rank(self.user_vectors[chosen], self.item_vectors, k, rows_of(seen, chosen), items)
            for place, row in zip(known, named):
                ranked[place] = row
        if strangers and unknown == "popular":
            places = [place for place, row in enumerate(rows) if row is None]
            for place, row in zip(places, self._popular(strangers, k, seen, items)):
                ranked[place] = row
        if strangers:
            what = "get the most popular items" if unknown == "popular" else "are left out"
            logger.warning("%s", f"users: {_listed(strangers)} {what}, the model knows nothing of them")
        return ranked

    def similar_items(
        self, items: Iterable[Any], k: int = 10, *, candidates: str = "known", unknown: str = "refuse"
    ) -> Ranked:
        """The k items nearest to each item by cosine of their embeddings, as (external id, cosine), itself left out.

        Args:
            items: external ids.
            candidates: which items may be listed, see the class.
            unknown: ``refuse`` or ``skip`` an item that is not in the data.

        Raises:
            InputError: an unknown item, one id instead of several, or k < 1.
        """
        externals, k = self.items.listed(items), _whole(k)
        rows = [self.items.row(external) for external in externals]
        strangers = [external for external, row in zip(externals, rows) if row is None]
        if _choice("unknown", unknown, ("refuse", "skip")) == "refuse" and strangers:
            raise self.items.unknown(strangers[0])
        chosen = torch.tensor([row for row in rows if row is not None], dtype=torch.int64)
        unit = torch.nn.functional.normalize(self.item_vectors, dim=1)
        itself = CSRGraph(torch.arange(len(chosen) + 1), chosen, (len(chosen), len(self.items)))
        named = iter(self._rank(unit[chosen], unit, k, itself, self._candidates(candidates)))
        if strangers:
            logger.warning("%s", f"items: {_listed(strangers)} are left out, they are not in the data")
        return [[] if row is None else next(named) for row in rows]

    def unknown_users(self, users: Iterable[Any]) -> list[Any]:
        """Those of ``users`` whom the model knows nothing of: not in the data, or without a training interaction."""
        return [external for external in self.users.listed(users) if self._trained_row(external) is None]

    def user_id(self, user: Any) -> Any:
        """A user's id as the data have it, number or text, from what :meth:`recommend` takes; else as it is."""
        row = self.users.row(user)
        return user if row is None else self.users[row]

    def item_id(self, item: Any) -> Any:
        """The same for an item."""
        row = self.items.row(item)
        return item if row is None else self.items[row]

    @cached_property
    def _trained(self) -> list[bool]:
        """(U,) whether a user has training interactions; before they were kept apart no other user's were kept."""
        graph = self.catalogue.known if self.catalogue.train is None else self.catalogue.train
        return (graph.degrees() > 0).tolist()

    def _trained_row(self, external: Any) -> int | None:
        row = self.users.row(external)
        return row if row is not None and self._trained[row] else None

    def _refusal(self, external: Any) -> InputError:
        if self.users.row(external) is None:
            return self.users.unknown(external)
        return InputError(
            f"user {external}: has no training interaction, so the model knows nothing of them; rank by popularity "
            "with unknown='popular' (--unknown popular), or 'skip'"
        )

    def _seen(self, which: str) -> CSRGraph | None:
        if which == "train" and self.catalogue.train is None:
            raise InputError(
                "filter_seen: train is not known of a run that version 0.1.0 made, which kept all interactions "
                "together; use all or none, or train again"
            )
        return {"all": self.catalogue.known, "train": self.catalogue.train, "none": None}[which]

    def _candidates(self, which: str) -> Tensor | None:
        """(C,) rows of the items that may be recommended, ascending; None for all of them."""
        if _choice("candidates", which, CANDIDATES) == "all":
            return None
        wanted = self._popularity > 0
        if which == "content":
            if self.catalogue.content is None:
                raise InputError(
                    "candidates: which items have content is not known of a run that version 0.1.0 made; use known or "
                    "all, or train again"
                )
            wanted = wanted | self.catalogue.content
        return None if wanted.all() else torch.nonzero(wanted).flatten()

    @cached_property
    def _popularity(self) -> Tensor:
        """(I,) int64: how many users have an item."""
        return torch.bincount(self.catalogue.known.columns, minlength=len(self.items))

    def _popular(self, users: Sequence[Any], k: int, seen: CSRGraph | None, items: Tensor | None) -> Ranked:
        """The most popular items, without what a user has who is in the data all the same."""
        graph = with_empty_row(seen)
        rows = torch.tensor([len(self.users) if (row := self.users.row(user)) is None else row for user in users])
        popularity = self._popularity[:, None].float()
        return self._rank(torch.ones(len(users), 1), popularity, k, rows_of(graph, rows), items)

    def _rank(
        self, vectors: Tensor, item_vectors: Tensor, k: int, seen: CSRGraph | None, items: Tensor | None
    ) -> Ranked:
        """The k best of ``items`` (all when None) for vectors (B, E); ``seen`` (B, I) says what each leaves out."""
        if items is not None:
            seen = None if seen is None else columns_of(seen, items)
            item_vectors = item_vectors[items]
        scores, places = topk(vectors, item_vectors, k, seen=seen)
        found = places if items is None else torch.where(places < 0, places, items[places.clamp(min=0)])
        return [
            [(self.items[item], score) for item, score in zip(item_row, score_row) if item >= 0]
            for item_row, score_row in zip(found.tolist(), scores.tolist())
        ]


def _choice(name: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise InputError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    return value


def _whole(k: Any) -> int:
    number = k.item() if isinstance(k, Tensor) and k.ndim == 0 else k
    try:
        whole = int(number)
        if isinstance(number, (bool, str)) or whole != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"k: {k!r} is no whole number") from None
    if whole < 1:
        raise InputError(f"k: {whole} must be 1 or more")
    return whole


def _listed(users: Sequence[Any], shown: int = 10) -> str:
    """``2 users (u7, u9)``, the first of many."""
    more = ", ..." if len(users) > shown else ""
    return f"{len(users):,} unknown ({', '.join(map(str, users[:shown]))}{more})"
