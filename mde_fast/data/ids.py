"""Ids of a table: from the cells of a column to row numbers, and to the sorted ids that these stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ..errors import InputError
from .reading import shown

_EDGE_BLANK = r"^[\s\p{Z}\x{FEFF}]|[\s\p{Z}\x{FEFF}]$"  # U+FEFF is the byte order mark
_INTEGER = r"^[+-]?[0-9]+$"
_INTEGER_AS_FLOAT = r"^[+-]?[0-9]+\.0*$|^-?[0-9](\.[0-9]+)?e\+[0-9]+$"  # 17.0, and 1e+16 as Python writes it


@dataclass(frozen=True)
class Cells:
    """A column of n cells, each distinct value kept once.

    Attributes:
        codes: (n,) int32 position of each cell's value in ``values``, -1 for an empty cell.
        values: the distinct values, all of which occur, in no order.
    """

    codes: np.ndarray
    values: pa.Array

    def first(self, flags: np.ndarray) -> int | None:
        """The first row whose value is flagged by ``flags`` (values,) bool; None if there is none."""
        return int(np.argmax(np.append(flags, False)[self.codes])) if flags.any() else None

    def value(self, row: int) -> object:
        """The value of a row; None where it is empty."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code].as_py()


def cells_of(column: pa.ChunkedArray) -> Cells:
    """The cells of a column of any type that has distinct values.

    Raises:
        pyarrow.ArrowNotImplementedError: a type that has not, such as lists.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    # Large strings may be more than 2 GiB together.
    kind = pa.large_string() if _is_text(column.type.value_type) else column.type.value_type
    column = column.cast(pa.dictionary(pa.int32(), kind))
    # Arrow unifies no dictionaries that hold the empty cell.
    chunks = [
        chunk.dictionary_decode().dictionary_encode() if chunk.dictionary.null_count else chunk
        for chunk in column.chunks
    ]
    encoded = pa.chunked_array(chunks, column.type).unify_dictionaries().combine_chunks()
    codes = encoded.indices.fill_null(-1).to_numpy()
    # A dictionary that came with the column may hold values twice, values that no cell has, and the empty one.
    number = np.full(len(encoded.dictionary) + 1, -1, dtype=np.int32)
    occurs = np.bincount(codes + 1, minlength=len(number))[1:] > 0
    kept = encoded.dictionary.filter(pa.array(occurs)).dictionary_encode()
    number[:-1][occurs] = kept.indices.fill_null(-1).to_numpy()
    return Cells(number[codes], kept.dictionary)


def id_cells(kind: str, column: pa.ChunkedArray, at: Callable[[int], str]) -> Cells:
    """The cells of a column of ids; bytes become the text that they spell in UTF-8.

    Args:
        kind: ``user`` or ``item``, for messages.
        at: names a row in messages.

    Raises:
        InputError: bytes that are no text, or a type that no ids have.
    """
    try:
        cells = cells_of(column)
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"{at(0)}: {kind} ids of type {column.type} cannot be used; use numbers or strings") from error
    if _is_bytes(cells.values.type):
        spelled = np.array([_spells_text(value) for value in cells.values.to_pylist()])
        row = cells.first(~spelled)
        if row is not None:
            cell = shown(cells.value(row))
            raise InputError(f"{at(row)}: {kind} id {cell} is bytes that are no UTF-8 text; write ids as strings")
        return Cells(cells.codes, cells.values.cast(pa.large_string()))
    if not _is_text(cells.values.type):
        return cells
    # Zeros at the end fill up text of fixed width and are no part of it.
    trimmed = pyarrow.compute.utf8_rtrim(cells.values, "\0")
    return cells if trimmed.equals(cells.values) else _renamed(cells, trimmed)


def rows_of_ids(kind: str, cells: Cells, at: Callable[[int], str], *, written: bool) -> tuple[np.ndarray, np.ndarray]:
    """Row number (n,) int64 of each cell, and the sorted ids (rows,) that the numbers stand for, text as objects.

    Args:
        kind: ``user`` or ``item``, for messages.
        cells: as ``id_cells`` gives them.
        at: names a row in messages.
        written: the file is text, so that integers come as strings: they become integers if that loses nothing.

    Raises:
        InputError: an id is empty, or surely not what was meant.
    """
    _require_ids(kind, cells, at)
    values = _integers_if_exact(cells.values) if written else cells.values
    if _is_text(values.type) and written:
        _refuse_blanks(kind, cells, at)
    _refuse_integers_as_floats(kind, cells, at, written=written)
    if _is_text(values.type):
        # Arrow orders bytes, and UTF-8 has the order of the characters, which is that of Python and NumPy.
        order = pyarrow.compute.sort_indices(values).to_numpy()
        ids = values.take(pa.array(order)).to_numpy(zero_copy_only=False)
    else:
        unsorted = _as_numpy(values)
        order = np.argsort(unsorted, kind="stable")
        ids = unsorted[order]
    row = np.empty(len(ids), dtype=np.int64)
    row[order] = np.arange(len(ids))
    return row[cells.codes], ids


def refuse_repeated_header(header: list[str], users: Cells, items: Cells, at: Callable[[int], str]) -> None:
    """Refuse a row that names columns where the ids are, as it is where files were joined with their headers."""
    named, names = [], [name for name in header if not name.isdigit()]
    for cells in (users, items):
        if not _is_text(cells.values.type):
            return
        trimmed = pyarrow.compute.utf8_trim(cells.values, " \t\ufeff")
        flags = pyarrow.compute.is_in(trimmed, pa.array(names, trimmed.type)).to_numpy(zero_copy_only=False)
        if not flags.any():
            return
        named.append(np.append(flags, False)[cells.codes])
    both = named[0] & named[1]
    if both.any():
        raise InputError(f"{at(int(np.argmax(both)))}: is a header again, as where files were joined; remove the row")


def _require_ids(kind: str, cells: Cells, at: Callable[[int], str]) -> None:
    missing = cells.values.is_null(nan_is_null=True)
    if _is_text(cells.values.type):
        missing = pyarrow.compute.equal(pyarrow.compute.utf8_trim_whitespace(cells.values), "")
    absent = np.append(missing.to_numpy(zero_copy_only=False), True)[cells.codes]
    if absent.any():
        raise InputError(f"{at(int(np.argmax(absent)))}: no {kind} id; fill it in or drop the row")


def _refuse_blanks(kind: str, cells: Cells, at: Callable[[int], str]) -> None:
    """Refuse text of a file that has blanks round an id, or an end of line within."""
    row = cells.first(_matches(cells.values, r"[\r\n]"))
    if row is not None:
        cell = shown(cells.value(row))
        raise InputError(
            f"{at(row)}: {kind} id {cell} runs over several lines; close its quote, or, where the line break belongs "
            "to the id, write the table as Parquet"
        )
    row = cells.first(_matches(cells.values, _EDGE_BLANK))
    if row is not None:
        raise InputError(
            f"{at(row)}: {kind} id {shown(cells.value(row))} begins or ends with a blank; remove the blanks round the "
            "cells, or, where they belong to the ids, write the table as Parquet"
        )


def _refuse_integers_as_floats(kind: str, cells: Cells, at: Callable[[int], str], *, written: bool) -> None:
    """Refuse a column of whole numbers, some or all of them floats: 17 and 17.0 would be two ids."""
    values, flags = cells.values, np.zeros(0, dtype=bool)
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy(zero_copy_only=False)
        flags = np.full(len(values), np.array_equal(numbers, np.floor(numbers)))
    elif written and _is_text(values.type):
        flags = _matches(values, _INTEGER_AS_FLOAT)
        flags &= (flags | _matches(values, _INTEGER)).all()
    row = cells.first(flags)
    if row is not None:
        raise InputError(
            f"{at(row)}: {kind} id {shown(cells.value(row))} is an integer made a float, as pandas does where a column "
            "has empty cells; write the ids as integers (pandas: astype('Int64')), or in Parquet as strings"
        )


def _renamed(cells: Cells, values: pa.Array) -> Cells:
    """The cells with other values, some of which may be equal."""
    again = values.dictionary_encode()
    return Cells(np.append(again.indices.to_numpy(), np.int32(-1))[cells.codes], again.dictionary)


def _matches(values: pa.Array, pattern: str) -> np.ndarray:
    return pyarrow.compute.match_substring_regex(values, pattern).to_numpy(zero_copy_only=False)


def _spells_text(value: bytes) -> bool:
    # A UUID may decode by chance, but then has zeros nearly always.
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def _integers_if_exact(values: pa.Array) -> pa.Array:
    """``values`` (strings) as integers if that loses nothing, else as they are."""
    try:
        integers = values.cast(pa.int64())
    except pa.ArrowInvalid:
        return values
    return integers if integers.cast(values.type).equals(values) else values


def _as_numpy(values: pa.Array) -> np.ndarray:
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return values.to_numpy(zero_copy_only=False)
    objects = np.empty(len(values), dtype=object)
    objects[:] = values.to_pylist()
    return objects


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
