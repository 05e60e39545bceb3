"""Which interactions stay: by rating, by time, once each, and by how much is known of a user or an item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.dataset import first_of_each
from ..errors import InputError
from .interactions import Interactions


@dataclass
class Steps:
    """What each step left, for people and for prepare.json.

    Attributes:
        rows: a mapping for each step, in order: step, interactions, users, items, and what else it says.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: str, interactions: Interactions) -> Interactions:
        """Record what a step left, and hand it on.

        Raises:
            InputError: it left none.
        """
        counts = len(interactions), len(interactions.user_ids), len(interactions.item_ids)
        if not counts[0]:
            raise InputError(f"{step}: leaves no interaction; ask for less")
        self.rows.append({"step": step, **dict(zip(("interactions", "users", "items"), counts))})
        return interactions

    def lines(self) -> list[str]:
        """A line for each step, with what it took away."""
        lines, before = [], None
        for row in self.rows:
            gone = f" ({row['interactions'] - before:+,})" if before is not None else ""
            before = row["interactions"]
            of = f"{row['users']:,} users, {row['items']:,} items"
            lines.append(f"{row['step']}: {row['interactions']:,} interactions{gone}, {of}")
        return lines


def at_least_rated(interactions: Interactions, rating: float) -> Interactions:
    """Those with a weight of ``rating`` or more."""
    if interactions.weights is None:
        raise InputError("--min-rating: the interactions have no rating column; name it with --weight-column")
    return interactions.where(interactions.weights >= rating)


def within(interactions: Interactions, since: float | None, until: float | None) -> Interactions:
    """Those at ``since`` or later and before ``until``, in the numbers that the times are."""
    times = interactions.times
    if times is None:
        raise InputError("--since, --until: the interactions have no time column; name it with --time-column")
    keep = np.ones(len(times), dtype=bool)
    if since is not None:
        keep &= times >= since
    if until is not None:
        keep &= times < until
    return interactions.where(keep)


def once(interactions: Interactions) -> Interactions:
    """The first of each pair of a user and an item: by time where there are times, else in the file's order."""
    order = np.arange(len(interactions))
    if interactions.times is not None:
        order = np.argsort(interactions.times, kind="stable")
    keys = interactions.users * len(interactions.item_ids) + interactions.items
    return interactions.where(np.sort(order[first_of_each(keys[order])]))


def core(interactions: Interactions, least_of_user: int, least_of_item: int) -> Interactions:
    """The largest part in which every user has so many interactions and every item so many (the k-core)."""
    kept = np.ones(len(interactions), dtype=bool)
    while True:
        rows = np.flatnonzero(kept)
        users, items = interactions.users[rows], interactions.items[rows]
        few = np.bincount(users, minlength=len(interactions.user_ids))[users] < least_of_user
        few |= np.bincount(items, minlength=len(interactions.item_ids))[items] < least_of_item
        if not few.any():
            return interactions.where(kept)
        kept[rows[few]] = False
