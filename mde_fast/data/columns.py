"""Which column of a table is the user, the item, the time and the split, and what the cells of the last two mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..errors import InputError
from .dataset import Split
from .ids import cells_of
from .reading import listed, shown
from .split import PARTS, SplitRule

# In letters and digits only, the likeliest first.
SPELLINGS = {
    "user": "user userid uid reviewer reviewerid customer customerid client clientid visitor visitorid member memberid",
    "item": "item itemid iid product productid asin parentasin sku movie movieid track trackid song songid video "
    "videoid article articleid book bookid business businessid poi poiid",
    "time": "timestamp time date datetime ts unixreviewtime createdat",
    "weight": "rating ratings overall stars score weight",
    "split": "split splitlabel xlabel fold subset",
}

SPLIT_WORDS = {"0": 0, "train": 0, "training": 0, "1": 1, "valid": 1, "validation": 1, "val": 1, "dev": 1}
SPLIT_WORDS |= {"2": 2, "test": 2, "testing": 2}


class TableFile(Protocol):
    """A file of rows: ``header`` names its columns, ``at(row)`` names a row in messages."""

    path: Path
    header: list[str]

    def at(self, row: int) -> str: ...


@dataclass(frozen=True)
class ColumnNames:
    """Names of columns given by the user; None leaves the column to be found by its common spellings."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    split: str | None = None

    def positions(self, header: list[str], path: Path, *, temporal: bool) -> dict[str, int]:
        """Position in ``header`` of the columns to read: user, item, and split or, for a temporal split, time.

        A type after a colon (``user_id:token``, the form of RecBole) is no part of a name.

        Raises:
            InputError: a named column is not there, a needed column is not found, or a name appears twice.
        """
        found = {}
        for role in ("user", "item", "split", "time"):
            if role == "time" and ("split" in found or not temporal):
                continue
            name = getattr(self, role)
            position = find_spelling(header, role) if name is None else named_column(header, role, name, path)
            if position is not None:
                found[role] = position
            elif role != "split":
                raise InputError(
                    f"{path}: row 1: no {role} column found among: {listed(header)}; name it with --{role}-column"
                )
        for role, position in found.items():
            if header.count(header[position]) > 1:
                raise InputError(f"{path}: row 1: column {header[position]!r} appears twice; rename one of them")
            twin = next(other for other in found if found[other] == position)
            if twin != role:
                raise InputError(
                    f"{path}: column {header[position]!r} cannot be both {twin} and {role}; "
                    f"name the right one with --{role}-column"
                )
        return found


def named_column(header: list[str], role: str, name: str, path: Path) -> int:
    """Position of a column that the user named.

    Raises:
        InputError: it is not there.
    """
    if name in header:
        return header.index(name)
    untyped = [column.split(":")[0] for column in header]
    if name in untyped:
        return untyped.index(name)
    close = difflib.get_close_matches(name, header, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{path}: no column {name!r} (--{role}-column); the columns are: {listed(header)}{hint}")


def find_spelling(header: list[str], role: str) -> int | None:
    """Position of the likeliest column for ``role`` by the common spellings, None if there is none."""
    plain = [re.sub(r"[^a-z0-9]", "", column.split(":")[0].lower()) for column in header]
    return next((plain.index(spelling) for spelling in SPELLINGS[role].split() if spelling in plain), None)


def split_pairs(
    pairs: Split, file: TableFile, table: dict[int, pa.ChunkedArray], position: dict[str, int], rule: SplitRule
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Splits of ``pairs`` by the split column, or by ``rule`` where there is none; and notes.

    Args:
        pairs: one pair for each row of ``table``.
        file: where the rows come from.
        table: the columns that were read.
        position: of the columns, as ``ColumnNames.positions`` found them.
        rule: for data without a split column.
    """
    if "split" in position:
        label = file.header[position["split"]]
        return _split_by_label(pairs, label, table[position["split"]], file.at), rule.unused(label)
    times = read_times(table[position["time"]], file.at) if rule.temporal else None
    return rule.apply(pairs, times), (f"split: none in {file.path.name}; made one: {rule}",)


def _split_by_label(pairs: Split, name: str, column: pa.ChunkedArray, at: Callable[[int], str]) -> dict[str, Split]:
    """Pairs of each split, by a column called ``name`` of the words train, valid, test, or 0, 1, 2."""
    try:
        cells = cells_of(column)
        words = [word.strip().lower() for word in cells.values.cast(pa.string()).to_pylist()]
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise InputError(f"{at(0)}: {name} of type {column.type} is no split; use train, valid and test") from error
    labels = np.array([SPLIT_WORDS.get(word, -1) for word in words] + [-1], dtype=np.int8)[cells.codes]
    if (labels < 0).any():
        row = int(np.argmax(labels < 0))
        raise InputError(
            f"{at(row)}: {name} {shown(column[row].as_py())} is none of 0, 1, 2, train, valid, test; "
            "correct it, or rename the column to have a split made"
        )
    return {part: pairs.where(labels == number) for number, part in enumerate(PARTS)}


def read_times(column: pa.ChunkedArray, at: Callable[[int], str]) -> np.ndarray:
    """(n,) numbers that order the cells: numbers as they are, ISO dates and times as whole units of time.

    Raises:
        InputError: a cell is empty, or neither a number nor an ISO date (mixing the two is an error, too), or a time of
            day, which does not tell one day from the next.
    """
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    kinds = (pa.int64(), pa.float64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")) if text else (column.type,)
    readable = [_readable_cells(column, kind) for kind in kinds]
    if max(readable) < len(column):
        row = max(readable)
        raise InputError(
            f"{at(row)}: time {shown(column[row].as_py())} cannot be read; use numbers or ISO dates "
            "(2024-01-31 or 2024-01-31 12:30:00) in every row"
        )
    kind = kinds[readable.index(len(column))]
    numbers = column.cast(kind)
    if pa.types.is_date(kind):
        numbers = numbers.cast(pa.timestamp("s")).cast(pa.int64())
    elif pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        numbers = numbers.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(
            f"{at(0)}: a time column of type {kind} cannot be read; use numbers, or ISO dates with or without a time"
        )
    return numbers.to_numpy()


def _readable_cells(column: pa.ChunkedArray, kind: pa.DataType) -> int:
    """Number of cells before the first that is empty, NaN or cannot be read as ``kind``."""

    def reads(count: int) -> bool:
        try:
            cells = column.slice(0, count).cast(kind)
        except pa.ArrowInvalid:
            return False
        return not pyarrow.compute.any(cells.is_null(nan_is_null=True)).as_py()

    if reads(len(column)):
        return len(column)
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reads(middle) else (low, middle)
    return low
