"""What is not as it was: the one comparison of runs, searches, checkpoints and machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .values import plain


@dataclass(frozen=True)
class Changed:
    """A name whose value is not as it was."""

    name: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {self.then}, is {self.now}"


def difference(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
) -> list[Changed]:
    """The names whose values differ, in the order of ``now``; tuples and lists of the same values are the same.

    Args:
        then, now: name -> value. A name that ``now`` lacks means nothing any more and is passed over.
        defaults: what a name had that ``then`` lacks, as it is younger; one that has no default is passed over.
        without: names that may differ.
    """
    before = {**(defaults or {}), **then}
    return [
        Changed(name, plain(before[name]), plain(value))
        for name, value in now.items()
        if name not in without and name in before and plain(before[name]) != plain(value)
    ]


def described(changes: list[Changed]) -> str:
    """For a message: ``epochs was 3, is 4; ...``."""
    return "; ".join(map(str, changes))
