"""Checks of ids that are row numbers themselves, as in MMRec's and LightGCN's files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InputError

LARGEST = 100_000_000
REMEDY = "ids must be consecutive from 0, use a CSV table for arbitrary ids"


def count_rows(kind: str, ids: np.ndarray, at: Callable[[int], str]) -> int:
    """Rows that the ids need: the largest id plus one.

    Args:
        kind: ``user`` or ``item``, for messages.
        ids: (n,) int64, not empty.
        at: names the place of entry i in messages.

    Raises:
        InputError: an id is negative, or so large that most rows would belong to nobody.
    """
    lowest, largest = int(ids.argmin()), int(ids.argmax())
    if ids[lowest] < 0:
        first = int(np.argmax(ids < 0))
        raise InputError(f"{at(first)}: {kind} id {ids[first]} is negative; {REMEDY}")
    highest = int(ids[largest])
    if highest > LARGEST or (highest > 1_000_000 and highest > 1000 * len(np.unique(ids)) + 1_000_000):
        raise InputError(f"{at(largest)}: {kind} id {highest} is far beyond the number of {kind}s; {REMEDY}")
    return highest + 1
