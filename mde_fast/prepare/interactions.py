"""Raw interactions in any of the forms that people have them in, as row numbers with their times and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.json

from ..data.columns import find_spelling, named_column, read_times
from ..data.compression import ending, opened
from ..data.delimited import DelimitedFile
from ..data.ids import id_cells, refuse_repeated_header, rows_of_ids
from ..data.reading import first_line, listed, reading, shown
from ..data.typed_tables import ParquetFile, TableInMemory
from ..errors import InputError

JSON_LINES = (".json", ".jsonl", ".ndjson")
MOVIELENS = {"ratings.dat": "::", "u.data": "\t"}  # without a header: user, item, rating, seconds


@dataclass(frozen=True)
class Interactions:
    """n interactions.

    Attributes:
        users, items: (n,) int64 row numbers into the ids.
        user_ids, item_ids: external id of each row, sorted.
        times: (n,) numbers that order them, nanoseconds since 1970 where the file has dates; or None.
        weights: (n,) ratings or counts, or None.
    """

    users: np.ndarray
    items: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def where(self, keep: np.ndarray) -> Interactions:
        """Those that ``keep`` (n,) bool, or row numbers in an order, says; ids that nobody has any more are gone."""
        users, user_ids = _renumbered(self.users[keep], self.user_ids)
        items, item_ids = _renumbered(self.items[keep], self.item_ids)
        times = None if self.times is None else self.times[keep]
        weights = None if self.weights is None else self.weights[keep]
        return replace(
            self, users=users, items=items, user_ids=user_ids, item_ids=item_ids, times=times, weights=weights
        )


def _renumbered(rows: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same rows counted among those that occur."""
    occurs = np.zeros(len(ids), dtype=bool)
    occurs[rows] = True
    return (np.cumsum(occurs) - 1)[rows], ids[occurs]


def read_interactions(path: Path, names: Mapping[str, str | None]) -> Interactions:
    """Read a file of interactions.

    CSV and TSV, Parquet, JSON lines (Amazon's reviews of 2014 and 2023 among them), texts compressed or not; MovieLens'
    ``ratings.dat`` and ``u.data``, which have no header. Columns are found by their usual names.

    Args:
        path: the file.
        names: of the columns user, item, time and weight; None for one to be found. Time and weight may be missing.

    Raises:
        InputError: the file, a column or a cell cannot be used.
    """
    file = open_table(path)
    position = _positions(file.header, path, names)
    written = isinstance(file, DelimitedFile)
    repeating = pa.dictionary(pa.int32(), pa.string())
    types = {"user": repeating, "item": repeating, "time": pa.string(), "weight": pa.string()}
    table = file.read({at: types[role] for role, at in position.items()})
    cells = {role: id_cells(role, table[position[role]], file.at) for role in ("user", "item")}
    refuse_repeated_header(file.header, cells["user"], cells["item"], file.at)
    users, user_ids = rows_of_ids("user", cells["user"], file.at, written=written)
    items, item_ids = rows_of_ids("item", cells["item"], file.at, written=written)
    times = read_times(_as_nanoseconds(table[position["time"]]), file.at) if "time" in position else None
    weights = _numbers(table[position["weight"]], file) if "weight" in position else None
    return Interactions(users, items, user_ids, item_ids, times, weights)


def open_table(path: Path) -> DelimitedFile | ParquetFile | TableInMemory:
    """A table by the ending of its name.

    Raises:
        InputError: it cannot be read, or its form is not known.
    """
    if path.name in MOVIELENS:
        return _without_header(path, MOVIELENS[path.name])
    if (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix) in JSON_LINES:
        return _json_lines(path)
    if ending(path) == ".parquet":
        return ParquetFile(path)
    if ending(path) not in (".csv", ".tsv", ".txt", ".inter"):
        raise InputError(
            f"{path}: form not known from its ending; use .csv, .tsv, .parquet, .json or .jsonl (texts may end in "
            ".gz), or MovieLens' ratings.dat or u.data"
        )
    return DelimitedFile(path, ",;\t", quoted=True)


def _json_lines(path: Path) -> TableInMemory:
    """The plain columns of a file with a JSON object on each line; what is nested is passed over."""
    try:
        with reading(path), pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None) as stream:
            table = pyarrow.json.read_json(stream, read_options=pyarrow.json.ReadOptions(block_size=1 << 24))
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: cannot be read as JSON lines, an object on each: {first_line(error)}") from error
    plain = [name for name, kind in zip(table.column_names, table.schema.types) if not pa.types.is_nested(kind)]
    return TableInMemory(table.select(plain), str(path))


def _without_header(path: Path, separator: str) -> TableInMemory:
    """MovieLens' texts: user, item, rating and seconds since 1970 on each line."""
    with reading(path), opened(path) as file:
        text = file.read().decode("utf-8", "replace")
    columns: tuple[list[int], ...] = ([], [], [], [])
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split(separator)
        if not line.strip():
            continue
        try:
            for column, cell in zip(columns, cells, strict=True):
                column.append(int(cell))
        except ValueError:
            raise InputError(
                f"{path}: row {number}: {shown(line)} is not user{separator}item{separator}rating{separator}time"
            ) from None
    table = pa.table(dict(zip(("user", "item", "rating", "timestamp"), columns)))
    return TableInMemory(table, str(path))


def _positions(header: list[str], path: Path, names: Mapping[str, str | None]) -> dict[str, int]:
    """Position of each column; user and item have to be there, the others if they are named."""
    found = {}
    for role in ("user", "item", "time", "weight"):
        name = names.get(role)
        position = find_spelling(header, role) if name is None else named_column(header, role, name, path)
        if position is not None:
            found[role] = position
        elif role in ("user", "item"):
            raise InputError(f"{path}: no {role} column found among: {listed(header)}; name it with --{role}-column")
    return found


def _as_nanoseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates and times of a typed table in the unit that written ones are read in."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ns", column.type.tz))
    return column.cast(pa.timestamp("ns")) if pa.types.is_date(column.type) else column


def _numbers(column: pa.ChunkedArray, file: DelimitedFile | ParquetFile | TableInMemory) -> np.ndarray:
    """(n,) float64 of a column of weights."""
    try:
        numbers = column.cast(pa.float64())
        missing = numbers.is_null(nan_is_null=True)
        if pyarrow.compute.any(missing).as_py():
            row = pyarrow.compute.index(missing, True).as_py()
            raise InputError(f"{file.at(row)}: no rating; fill it in or drop the row")
        return numbers.to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for row, cell in enumerate(column.to_pylist()):
            try:
                float(cell)
            except (TypeError, ValueError):
                raise InputError(
                    f"{file.at(row)}: rating {shown(cell)} is no number; correct it, or name another column with "
                    "--weight-column"
                ) from None
        raise
