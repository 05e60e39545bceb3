"""Quotes that were left open: in CSV such a cell goes on over the next lines, and swallows their rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

LONGEST_CELL = 1 << 22  # characters; Arrow reads no cell that is as long


def find_open_quote(lines: Iterable[str], separator: str, is_row: Callable[[list[str]], bool]) -> str | None:
    """Says which row, by its line from 1, has a quote that swallows others, and how that shows; None if there is none.

    A cell may run over several lines, as the text of a review does. It is a mistake where the file or the cell does not
    end with the closing quote, or where a line within it is a row itself.

    Args:
        lines: of the whole file, with their ends.
        separator: of the cells.
        is_row: whether cells are those of a row.
    """
    taken: list[str] = []
    reader = csv.reader(_kept(lines, taken), delimiter=separator)
    first = 1
    with long_cells():
        while True:
            try:
                if next(reader, None) is None:
                    return None
            except csv.Error:
                return f"row {first}: a quote opens here and does not close within {LONGEST_CELL:,} characters"
            if len(taken) > 1 and (problem := _problem(taken, separator, is_row, first)):
                return f"row {first}: {problem}"
            first += len(taken)
            taken.clear()


def _problem(lines: list[str], separator: str, is_row: Callable[[list[str]], bool], first: int) -> str | None:
    """What is wrong with a row of several lines, the first of which is line ``first`` of the file."""
    last = first + len(lines) - 1
    try:
        list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error:
        return f"a quote opens here and does not close at the end of a cell, but runs on to row {last}"
    for row, line in enumerate(lines[1:], start=first + 1):
        if is_row(next(csv.reader([line], delimiter=separator))):
            return f"a quote opens here and closes in row {last} only, but row {row} is a row of its own"
    return None


def _kept(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


@contextmanager
def long_cells() -> Iterator[None]:
    """Inside, Python's csv module reads cells as long as Arrow does."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
