"""Delimited text files (CSV and its relatives): header, columns, and the line on which a row stands."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ..errors import InputError
from .compression import opened
from .open_quotes import find_open_quote, long_cells
from .reading import first_line, reading, shown

BLOCK = 1 << 20  # bytes that are decoded at once
NO_TEXT = {
    b"\x1f\x8b": "is compressed by gzip; add .gz to its name",
    b"\x28\xb5\x2f\xfd": "is compressed by Zstandard; add .zst to its name",
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook; unpack it, or save the sheet as 'CSV UTF-8'",
}


class DelimitedFile:
    """A text file with a header line, plain or compressed.

    Args:
        path: the file; compressed where its name says so.
        separators: characters that may separate the cells; the one most frequent in the header does.
        quoted: whether ``"`` quotes cells (which may then hold separators and line ends).

    Raises:
        InputError: it cannot be read, is not UTF-8 text, or is empty.

    Attributes:
        header: names of the columns, without the blanks round them.
        lines: how many lines are not blank, the header among them.
    """

    def __init__(self, path: Path, separators: str, *, quoted: bool) -> None:
        self.path, self.quoted = path, quoted
        with reading(path), opened(path) as file:
            line, has_rows = file.readline(), bool(file.read(1))
        for start, problem in NO_TEXT.items():
            if line.startswith(start):
                raise InputError(f"{path}: {problem}")
        # UTF-16 without a byte order mark decodes, to a header full of zero characters.
        row, self.lines = (1, 0) if b"\0" in line else _survey(path)
        if row is not None:
            raise InputError(f"{path}: row {row}: is not UTF-8 text; save the file as UTF-8 (in Excel: 'CSV UTF-8')")
        text = line.decode("utf-8-sig").rstrip("\r\n")
        if "\r" in text:
            raise InputError(f"{path}: row 1: ends in a carriage return alone; save the file with usual line ends")
        if not text.strip():
            raise InputError(f"{path}: row 1: empty; a header line with the names of the columns is needed")
        if not has_rows:
            raise InputError(f"{path}: has no interactions below its header; check how it was written")
        self.separator = max(separators, key=text.count)
        with reading(path):
            self.header = [name.strip() for name in next(self._rows([text]))]

    def read(self, types: dict[int, pa.DataType]) -> dict[int, pa.ChunkedArray]:
        """The columns at the positions that ``types`` names, read as those types; nothing counts as missing.

        Raises:
            InputError: a row has too few or too many cells, a cell does not read as its type, or a quote that was left
                open swallows rows.
        """
        table = self._parse(types)
        if self.quoted and len(table) < self.lines - 1:
            # Some cells run over several lines. Of a row that reads as one, all repeating cells occur elsewhere, too.
            columns = {position: table[str(position)] for position in types}
            self._refuse_open_quote(
                {at: _distinct(column) for at, column in columns.items() if pa.types.is_dictionary(column.type)}
            )
        if len(table) == 0:
            raise InputError(f"{self.path}: has no interactions below its header; check how it was written")
        return {position: table[str(position)] for position in types}

    def at(self, row: int) -> str:
        """Name of data row ``row`` (from 0) in messages: the file and the line, from 1."""
        return f"{self.path}: row {self._line_and_cells(row)[0]}"

    def _parse(self, types: dict[int, pa.DataType]) -> pa.Table:
        try:
            with reading(self.path):
                return pyarrow.csv.read_csv(
                    str(self.path),
                    # Without threads, errors carry the number of the row.
                    read_options=pyarrow.csv.ReadOptions(
                        use_threads=False, skip_rows=1, column_names=[str(i) for i in range(len(self.header))]
                    ),
                    parse_options=pyarrow.csv.ParseOptions(
                        delimiter=self.separator,
                        quote_char='"' if self.quoted else False,
                        newlines_in_values=self.quoted,
                    ),
                    convert_options=pyarrow.csv.ConvertOptions(
                        column_types={str(position): kind for position, kind in types.items()},
                        include_columns=[str(position) for position in types],
                        null_values=[],
                    ),
                )
        except pa.ArrowInvalid as error:
            if self.quoted:
                self._refuse_open_quote({})
            raise InputError(self._explain(error, types)) from error

    def _refuse_open_quote(self, known: Mapping[int, set[str]]) -> None:
        """Refuse a quote that swallows rows. Reads the file again, line by line.

        Args:
            known: position -> cells of that column; a line within a cell that has such cells is a row.
        """

        def is_row(cells: list[str]) -> bool:
            return len(cells) == len(self.header) and bool(known) and all(cells[at] in known[at] for at in known)

        with reading(self.path), self._text() as file:
            problem = find_open_quote(file, self.separator, is_row)
        if problem is not None:
            raise InputError(f"{self.path}: {problem}; close it, or write a quote within a quoted cell twice")

    def _explain(self, error: pa.ArrowInvalid, types: dict[int, pa.DataType]) -> str:
        """The message for an error of Arrow, which counts rows that are not blank from 1 and the header among them."""
        reason = first_line(error)
        match = re.search(r"Row #(\d+)", reason)
        if match is None:
            return f"{self.path}: cannot be read as a table: {reason}"
        line, cells = self._line_and_cells(int(match[1]) - 2)
        place = f"{self.path}: row {line}"
        if len(cells) != len(self.header):
            return f"{place}: {len(cells)} cells where the header has {len(self.header)}; correct the row"
        for position, kind in types.items():
            if pa.types.is_integer(kind) and not _is_integer(cells[position]):
                return (
                    f"{place}: {self.header[position]} {shown(cells[position])} is not an integer; correct it, "
                    "or give ids of other kinds in a CSV table"
                )
        return f"{place}: {reason}"

    def _line_and_cells(self, row: int) -> tuple[int, list[str]]:
        """Line number, from 1, and cells of data row ``row``. Reads the file again: for messages only."""
        with reading(self.path), self._text() as file, long_cells():
            rows, line = self._rows(file), 1
            next(rows)
            for cells in rows:
                if cells and row == 0:
                    return line + 1, cells
                row, line = row - bool(cells), rows.line_num
        raise IndexError(f"{self.path} has no such row")

    def _text(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(opened(self.path), encoding="utf-8-sig", newline="")

    def _rows(self, lines):
        return csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE)


def _survey(path: Path) -> tuple[int | None, int]:
    """The row, from 1, of the first byte that is no UTF-8, None if there is none; and the number of lines not blank.

    All columns count, also those that are not read.
    """
    row, lines = 1, 0
    with reading(path), opened(path) as file:
        while block := file.read(BLOCK) + file.readline():
            try:
                block.decode()
            except UnicodeDecodeError as error:
                return row + block.count(b"\n", 0, error.start), lines
            row += block.count(b"\n")
            characters = np.frombuffer(block, dtype=np.uint8)
            inside = (characters != ord("\n")) & (characters != ord("\r"))
            lines += int(np.count_nonzero(inside[:-1] & ~inside[1:])) + int(inside[-1])
    return None, lines


def _distinct(column: pa.ChunkedArray) -> set[str]:
    """The cells of a dictionary column, each once."""
    return {value for chunk in column.chunks for value in chunk.dictionary.to_pylist()}


def _is_integer(cell: str) -> bool:
    """Whether it is an integer of 64 bits."""
    return re.fullmatch(r"\s*-?[0-9]+\s*", cell) is not None and -(2**63) <= int(cell) < 2**63
