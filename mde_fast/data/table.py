"""Tables of interactions, CSV or Parquet, with user and item ids of any type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from ..errors import InputError
from .columns import ColumnNames, split_pairs
from .dataset import InteractionDataset, Split
from .delimited import DelimitedFile
from .reading import first_line, reading, shown
from .split import SplitRule


def read_table(path: Path, name: str, rule: SplitRule, columns: ColumnNames) -> InteractionDataset:
    """Read one row per interaction, without features.

    Row r of the dataset is the r-th of the sorted unique ids. A CSV column (cells separated by comma, semicolon or
    tab) holds integers if each of its cells is written as an integer is, and strings otherwise: ``0012`` stays a
    string. Without a split column ``rule`` makes the split.

    Raises:
        InputError: the file, a column or a cell cannot be used.
    """
    written = path.suffix != ".parquet"
    file = DelimitedFile(path, ",;\t", quoted=True) if written else ParquetFile(path)
    position = columns.positions(file.header, path, temporal=rule.temporal)
    ids = pa.dictionary(pa.int32(), pa.string())
    table = file.read({position[role]: ids if role in ("user", "item") else pa.string() for role in position})

    users, user_ids = _rows_of_ids("user", table[position["user"]], written, file.at)
    items, item_ids = _rows_of_ids("item", table[position["item"]], written, file.at)
    pairs = Split(users, items)
    names = ", ".join(f"{role} {file.header[column]!r}" for role, column in position.items())
    splits, notes = split_pairs(pairs, file, table, position, rule)
    return InteractionDataset.build(
        name,
        splits,
        num_users=len(user_ids),
        num_items=len(item_ids),
        user_ids=user_ids,
        item_ids=item_ids,
        notes=(f"columns: {names}", *notes),
    )


class ParquetFile:
    """A Parquet file, read as a DelimitedFile is.

    Raises:
        InputError: it cannot be read, is no Parquet, or is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise InputError(f"{path}: cannot be read: Is a directory")
        try:
            with reading(path):
                schema = pyarrow.parquet.read_schema(path)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: is not a Parquet file, or is damaged; write it again") from error
        self.header = schema.names

    def read(self, positions: dict[int, object]) -> dict[int, pa.ChunkedArray]:
        """The columns at ``positions``, of the types that the file gives them."""
        names = [self.header[position] for position in positions]
        try:
            with reading(self.path):
                table = pyarrow.parquet.read_table(self.path, columns=names, partitioning=None)
        except pa.ArrowInvalid as error:
            raise InputError(f"{self.path}: cannot be read as Parquet: {first_line(error)}") from error
        if len(table) == 0:
            raise InputError(f"{self.path}: has no rows; check how it was written")
        return {position: table[name] for position, name in zip(positions, names)}

    def at(self, row: int) -> str:
        """Name of row ``row`` (from 0) in messages."""
        return f"{self.path}: row {row + 1}"


def _rows_of_ids(
    kind: str, column: pa.ChunkedArray, written: bool, at: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Row number (n,) of each cell, and the sorted ids (rows,) that they stand for.

    Args:
        kind: ``user`` or ``item``, for messages.
        written: the file is text, so that integers come as strings.
    """
    column = plain_ids(kind, column, at)
    try:
        encoded = column.combine_chunks().dictionary_encode()
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"{at(0)}: {kind} ids of type {column.type} cannot be used; use numbers or strings") from error
    values = encoded.dictionary
    missing = values.is_null(nan_is_null=True)
    if _is_text(values.type):
        missing = pyarrow.compute.equal(pyarrow.compute.utf8_trim_whitespace(values), "")
    is_missing = np.append(missing.to_numpy(zero_copy_only=False), True)
    indices = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    absent = is_missing[indices]
    if absent.any():
        raise InputError(f"{at(int(np.argmax(absent)))}: no {kind} id; fill it in or drop the row")

    ids = _as_numpy(_integers_if_exact(values) if written else values)
    order = np.argsort(ids, kind="stable")
    row = np.empty(len(ids), dtype=np.int64)
    row[order] = np.arange(len(ids))
    return row[indices], ids[order]


def plain_ids(kind: str, column: pa.ChunkedArray, at: Callable[[int], str]) -> pa.ChunkedArray:
    """The ids of a column of whatever form: a dictionary looked up, bytes as the text that they spell in UTF-8.

    Raises:
        InputError: bytes that are no text.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_bytes(column.type):
        return column
    try:
        texts = column.cast(pa.string())
        # A UUID may decode by chance, and NumPy's strings lose the zeros at its end.
        if not pyarrow.compute.any(pyarrow.compute.match_substring(texts, "\0")).as_py():
            return texts
    except pa.ArrowInvalid:
        pass
    row, cell = next((row, cell) for row, cell in enumerate(column.to_pylist()) if not _spells_text(cell))
    raise InputError(f"{at(row)}: {kind} id {shown(cell)} is bytes that are no UTF-8 text; write ids as strings")


def _spells_text(cell: bytes | None) -> bool:
    try:
        return cell is None or "\0" not in cell.decode()
    except UnicodeDecodeError:
        return False


def _integers_if_exact(values: pa.Array) -> pa.Array:
    """``values`` (strings) as integers if that loses nothing, else as they are."""
    try:
        integers = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values
    return integers if integers.cast(pa.string()).equals(values) else values


def _as_numpy(values: pa.Array) -> np.ndarray:
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return values.to_numpy(zero_copy_only=False)
    if _is_text(values.type):
        return np.array(values.to_pylist(), dtype=np.str_)
    objects = np.empty(len(values), dtype=object)
    objects[:] = values.to_pylist()
    return objects


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
