"""Recommendations from a finished run, in the ids of the data it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files import Checkpoints, Folder
from ..kernels import CSRGraph
from .blocks import Block, of_shelf, rank, spans
from .catalogue import Catalogue, load_catalogue
from .identifiers import Identifiers
from .scores import require_vectors
from .subgraph import rows_of, with_empty_row

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
        items: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
    ) -> Ranked:
        """The k best items of each user as (external id, score), best first; fewer where fewer are left.

        Args:
            users: external ids.
            filter_seen: leave out ``all`` items that the user is known to have, those of ``train`` alone, which is what
                the metrics leave out, or ``none``. True and False stand for ``all`` and ``none``.
            candidates: which items may be recommended, see the class.
            unknown: of a user whom the model knows nothing of, for no training interaction or none at all:
                ``refuse``, ``popular`` (the items with the most interactions, their number as the score) or ``skip``
                (an empty list). A warning names those whom it concerned; :meth:`unknown_users` lists them. Unless it is
                ``refuse``, ids in ``items`` and ``exclude`` that the data do not have are left out with a warning.
            items: external ids; of the candidates, these alone are recommended.
            exclude: external ids that are never recommended.

        Raises:
            InputError: an unknown user or item, one id instead of several, k < 1, no item left to recommend, or an
                option that the run's files are too old for.
        """
        blocks = self.recommend_in_blocks(
            users,
            k,
            filter_seen=filter_seen,
            candidates=candidates,
            unknown=unknown,
            items=items,
            exclude=exclude,
        )
        return [row for block in blocks for row in self.named(block)]

    def recommend_in_blocks(
        self,
        users: Iterable[Any],
        k: int = 10,
        *,
        filter_seen: str | bool = "all",
        candidates: str = "known",
        unknown: str = "refuse",
        items: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
    ) -> Iterator[Block]:
        """What :meth:`recommend` gives, some users at a time as arrays: memory does not grow with their number.

        Whatever can be refused is refused before the first block.
        """
        externals, k = self.users.listed(users), _whole(k)
        if isinstance(filter_seen, bool):
            filter_seen = "all" if filter_seen else "none"
        seen = self._seen(_choice("filter_seen", filter_seen, FILTERS))
        rows = [self._trained_row(external) for external in externals]
        strangers = [external for external, row in zip(externals, rows) if row is None]
        if _choice("unknown", unknown, UNKNOWN) == "refuse" and strangers:
            raise self._refusal(strangers[0])
        shelf = self._shelf(candidates, items, exclude, refuse=unknown == "refuse")
        if strangers:
            what = "get the most popular items" if unknown == "popular" else "are left out"
            logger.warning("%s", f"users: {_listed(strangers)} {what}, the model knows nothing of them")
        return self._blocks_of_users(externals, rows, k, seen, shelf, popular=unknown == "popular")

    def similar_items(
        self,
        items: Iterable[Any],
        k: int = 10,
        *,
        candidates: str = "known",
        unknown: str = "refuse",
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
    ) -> Ranked:
        """The k items nearest to each item by cosine of their embeddings, as (external id, cosine), itself left out.

        Args:
            items: external ids.
            candidates: which items may be listed, see the class.
            unknown: ``refuse`` or ``skip`` an item that is not in the data.
            among: external ids; of the candidates, these alone are listed.
            exclude: external ids that are never listed.

        Raises:
            InputError: an unknown item, one id instead of several, no item left to list, or k < 1.
        """
        blocks = self.similar_in_blocks(items, k, candidates=candidates, unknown=unknown, among=among, exclude=exclude)
        return [row for block in blocks for row in self.named(block)]

    def similar_in_blocks(
        self,
        items: Iterable[Any],
        k: int = 10,
        *,
        candidates: str = "known",
        unknown: str = "refuse",
        among: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
    ) -> Iterator[Block]:
        """What :meth:`similar_items` gives, some items at a time, as :meth:`recommend_in_blocks` does."""
        externals, k = self.items.listed(items), _whole(k)
        rows = [self.items.row(external) for external in externals]
        strangers = [external for external, row in zip(externals, rows) if row is None]
        if _choice("unknown", unknown, ("refuse", "skip")) == "refuse" and strangers:
            raise self.items.unknown(strangers[0])
        shelf = self._shelf(candidates, among, exclude, refuse=unknown == "refuse")
        if strangers:
            logger.warning("%s", f"items: {_listed(strangers)} are left out, they are not in the data")
        return self._blocks_of_items(externals, rows, k, shelf)

    def named(self, block: Block) -> Ranked:
        """A block's lists in external ids."""
        return [
            [(self.items[item], score) for item, score in zip(item_row, score_row) if item >= 0]
            for item_row, score_row in zip(block.rows.tolist(), block.scores.tolist())
        ]

    def candidate_rows(
        self, candidates: str = "known", items: Iterable[Any] | None = None, exclude: Iterable[Any] | None = None
    ) -> Tensor:
        """(C,) rows of the items that may be recommended, ascending."""
        shelf = self._shelf(candidates, items, exclude, refuse=True)
        return torch.arange(len(self.items)) if shelf is None else shelf

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
    def trained(self) -> list[bool]:
        """(U,) whether a user has training interactions; before they were kept apart no other user's were kept."""
        graph = self.catalogue.known if self.catalogue.train is None else self.catalogue.train
        return (graph.degrees() > 0).tolist()

    def _trained_row(self, external: Any) -> int | None:
        row = self.users.row(external)
        return row if row is not None and self.trained[row] else None

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

    def _shelf(
        self, which: str, items: Iterable[Any] | None, exclude: Iterable[Any] | None, *, refuse: bool
    ) -> Tensor | None:
        """(C,) rows of the items that may be recommended, ascending; None for all of them.

        Args:
            which: the candidates.
            items, exclude: external ids that alone remain, and that do not.
            refuse: an id of theirs that is not in the data, instead of leaving it out.
        """
        wanted = self._candidates(which)
        if items is not None:
            listed = self._rows_listed("items", items, refuse)
            others = listed[~wanted[listed]]
            if len(others):
                ids = [self.items[row] for row in others.tolist()]
                logger.warning("%s", f"items: {_listed(ids, '')} are none of the candidates ({which}) and are left out")
            wanted = wanted & torch.zeros_like(wanted).index_fill_(0, listed, True)
        if exclude is not None:
            wanted = wanted.index_fill(0, self._rows_listed("exclude", exclude, refuse), False)
        if not wanted.any():
            raise InputError(
                f"no item is left to recommend: candidates ({which}), items and exclude have none in common"
            )
        return None if wanted.all() else torch.nonzero(wanted).flatten()

    def _rows_listed(self, name: str, externals: Iterable[Any], refuse: bool) -> Tensor:
        """(n,) rows of a list of items, each once."""
        listed = self.items.listed(externals)
        if not listed and name == "items":
            raise InputError("items: an empty list leaves nothing to recommend; give None for all candidates")
        rows = {external: self.items.row(external) for external in dict.fromkeys(listed)}
        strangers = [external for external, row in rows.items() if row is None]
        if strangers and refuse:
            raise self.items.unknown(strangers[0])
        if strangers:
            logger.warning("%s", f"{name}: {_listed(strangers)} are passed over, they are not in the data")
        return torch.tensor(sorted({row for row in rows.values() if row is not None}), dtype=torch.int64)

    def _candidates(self, which: str) -> Tensor:
        """(I,) bool, items that may be recommended."""
        if _choice("candidates", which, CANDIDATES) == "all":
            return torch.ones(len(self.items), dtype=torch.bool)
        wanted = self._popularity > 0
        if which == "content":
            if self.catalogue.content is None:
                raise InputError(
                    "candidates: which items have content is not known of a run that version 0.1.0 made; use known or "
                    "all, or train again"
                )
            wanted = wanted | self.catalogue.content
        return wanted

    @cached_property
    def _popularity(self) -> Tensor:
        """(I,) int64: how many users have an item."""
        return torch.bincount(self.catalogue.known.columns, minlength=len(self.items))

    def _blocks_of_users(
        self,
        externals: list[Any],
        rows: list[int | None],
        k: int,
        seen: CSRGraph | None,
        shelf: Tensor | None,
        *,
        popular: bool,
    ) -> Iterator[Block]:
        vectors = of_shelf(self.item_vectors, shelf)
        popularity = of_shelf(self._popularity[:, None].float(), shelf) if popular else None
        for start, end in spans(len(externals), k):
            block = Block.empty([self.user_id(user) for user in externals[start:end]], min(k, len(vectors)), vectors)
            known = torch.tensor([row is not None for row in rows[start:end]], dtype=torch.bool)
            chosen = torch.tensor([row for row in rows[start:end] if row is not None], dtype=torch.int64)
            if len(chosen):
                ranked = rank(self.user_vectors[chosen], vectors, k, rows_of(seen, chosen), shelf)
                block.put(known, *ranked)
            if popularity is not None and not known.all():
                strangers = [user for user, row in zip(externals[start:end], rows[start:end]) if row is None]
                block.put(~known, *self._popular(strangers, k, seen, popularity, shelf))
            elif popularity is None:
                block.skipped.copy_(~known)
            yield block

    def _blocks_of_items(
        self, externals: list[Any], rows: list[int | None], k: int, shelf: Tensor | None
    ) -> Iterator[Block]:
        unit = torch.nn.functional.normalize(self.item_vectors, dim=1)
        vectors = of_shelf(unit, shelf)
        for start, end in spans(len(externals), k):
            block = Block.empty([self.item_id(item) for item in externals[start:end]], min(k, len(vectors)), vectors)
            known = torch.tensor([row is not None for row in rows[start:end]], dtype=torch.bool)
            chosen = torch.tensor([row for row in rows[start:end] if row is not None], dtype=torch.int64)
            itself = CSRGraph(torch.arange(len(chosen) + 1), chosen, (len(chosen), len(self.items)))
            if len(chosen):
                block.put(known, *rank(unit[chosen], vectors, k, itself, shelf))
            block.skipped.copy_(~known)
            yield block

    def _popular(
        self, users: Sequence[Any], k: int, seen: CSRGraph | None, popularity: Tensor, shelf: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The most popular items, without what a user has who is in the data all the same."""
        graph = with_empty_row(seen)
        rows = torch.tensor([len(self.users) if (row := self.users.row(user)) is None else row for user in users])
        return rank(torch.ones(len(users), 1), popularity, k, rows_of(graph, rows), shelf)


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


def _listed(ids: Sequence[Any], what: str = "unknown", shown: int = 10) -> str:
    """``2 unknown (u7, u9)``, the first of many."""
    more = ", ..." if len(ids) > shown else ""
    return f"{len(ids):,} {what} ({', '.join(map(str, ids[:shown]))}{more})".replace("  ", " ")
