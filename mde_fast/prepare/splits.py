"""Which interactions are held out: of every user, after a date, the last one, or of whole items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from ..data.dataset import Split
from ..data.split import PARTS, SplitRule, shown_ratios
from ..errors import InputError
from .interactions import Interactions

RULES = ("random", "temporal", "global-time", "leave-one-out", "cold-items")


@dataclass(frozen=True)
class Held:
    """Attributes:
    parts: (n,) int8, 0 for train, 1 for valid, 2 for test.
    said: what was done, for people.
    """

    parts: np.ndarray
    said: str


def hold_out(interactions: Interactions, how: str, ratios: tuple[float, ...] = (0.8, 0.1, 0.1), seed: int = 0) -> Held:
    """Split interactions, each pair of which is there once.

    ``random`` and ``temporal`` hold out a share of each user's, drawn or the latest (:class:`SplitRule`);
    ``global-time`` the latest of all, after one date for everybody, as a shop would have to predict them;
    ``leave-one-out`` each user's last one for test and the one before for validation, of users with three or more;
    ``cold-items`` whole items, drawn, which nobody is seen with in training.

    Args:
        interactions: with times for ``temporal`` and ``global-time``; ``leave-one-out`` draws where there are none.
        how: one of RULES.
        ratios: (train, valid, test): of a user's interactions, of all, or of the items.
        seed: of what is drawn.

    Raises:
        InputError: times are needed and not there, or the rule or the ratios are not usable.
    """
    if how not in RULES:
        raise InputError(f"--split {how}: is not one of {', '.join(RULES)}")
    if interactions.times is None and how in ("temporal", "global-time"):
        raise InputError(f"--split {how}: the interactions have no time column; name it with --time-column")
    rule = SplitRule("temporal" if how == "temporal" else "random", ratios, seed)  # refuses what is not usable
    if how in ("random", "temporal"):
        return Held(_of_each_user(interactions, rule), str(rule))
    if how == "leave-one-out":
        return _leave_one_out(interactions, seed)
    return _after_a_date(interactions, ratios) if how == "global-time" else _cold_items(interactions, ratios, seed)


def _of_each_user(interactions: Interactions, rule: SplitRule) -> np.ndarray:
    pairs, count = Split(interactions.users, interactions.items), len(interactions.item_ids)
    parts = np.zeros(len(interactions), dtype=np.int8)
    keys = pairs.keys(count)
    for number, part in enumerate(PARTS):
        parts[np.isin(keys, rule.apply(pairs, interactions.times)[part].keys(count))] = number
    return parts


def _leave_one_out(interactions: Interactions, seed: int) -> Held:
    count, times = len(interactions), interactions.times
    order = np.random.default_rng(seed).permutation(count) if times is None else np.argsort(times, kind="stable")
    order = order[np.argsort(interactions.users[order], kind="stable")]
    users = interactions.users[order]
    counts = np.bincount(users)
    from_last = (np.cumsum(counts)[users] - 1) - np.arange(count)
    held = (counts[users] >= 3) & (from_last < 2)
    parts = np.zeros(count, dtype=np.int8)
    parts[order[held]] = 2 - from_last[held]
    last = f"one drawn, seed {seed}" if times is None else "the last"
    return Held(parts, f"leave-one-out: {last} of each user with three or more is the test, another the validation")


def _after_a_date(interactions: Interactions, ratios: tuple[float, ...]) -> Held:
    """What happens at one moment is never cut through."""
    times = interactions.times
    assert times is not None
    ordered = np.sort(times)
    first_valid = ordered[min(round(len(times) * ratios[0]), len(times) - 1)]
    first_test = ordered[min(round(len(times) * (ratios[0] + ratios[1])), len(times) - 1)]
    parts = (times >= first_valid).astype(np.int8) + (times >= first_test)
    said = (
        f"global-time {shown_ratios(ratios)}: validation from {_moment(first_valid)}, test from {_moment(first_test)}"
    )
    return Held(parts.astype(np.int8), said)


def _moment(time: float) -> str:
    """A date where the number can be one of our days, in seconds, milliseconds, microseconds or nanoseconds."""
    for scale in (1, 1e3, 1e6, 1e9):
        if 1e8 <= time / scale < 5e9:  # 1973 to 2128
            return f"{datetime.fromtimestamp(time / scale, timezone.utc):%Y-%m-%d %H:%M:%S}"
    return f"{time:g}"


def _cold_items(interactions: Interactions, ratios: tuple[float, ...], seed: int) -> Held:
    count = len(interactions.item_ids)
    drawn = np.random.default_rng(seed).permutation(count)
    test, valid = round(count * ratios[2]), round(count * ratios[1])
    part_of_item = np.zeros(count, dtype=np.int8)
    part_of_item[drawn[:test]] = 2
    part_of_item[drawn[test : test + valid]] = 1
    counts = f"{valid:,} held out for validation, {test:,} for test"
    said = f"cold-items {shown_ratios(ratios)} of the items, seed {seed}: {counts}"
    return Held(part_of_item[interactions.items], said)
