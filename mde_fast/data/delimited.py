"""Delimited text files (CSV and its relatives): header, columns, and the line on which a row stands."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ..errors import InputError
from .reading import first_line, reading, shown

BLOCK = 1 << 20  # bytes that are decoded at once


class DelimitedFile:
    """A text file with a header line.

    Args:
        path: the file.
        separators: characters that may separate the cells; the one most frequent in the header does.
        quoted: whether ``"`` quotes cells (which may then hold separators and line ends).

    Raises:
        InputError: it cannot be read, is not UTF-8 text, or is empty.
    """

    def __init__(self, path: Path, separators: str, *, quoted: bool) -> None:
        self.path, self.quoted = path, quoted
        with reading(path), open(path, "rb") as file:
            line, has_rows = file.readline(), bool(file.read(1))
        # UTF-16 without a byte order mark decodes, to a header full of zero characters.
        row = 1 if b"\0" in line else _first_undecodable(path)
        if row is not None:
            raise InputError(f"{path}: row {row}: is not UTF-8 text; save the file as UTF-8 (in Excel: 'CSV UTF-8')")
        text = line.decode("utf-8-sig").rstrip("\r\n")
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
            InputError: a row has too few or too many cells, or a cell does not read as its type.
        """
        try:
            with reading(self.path):
                table = pyarrow.csv.read_csv(
                    self.path,
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
            raise InputError(self._explain(error, types)) from error
        if len(table) == 0:
            raise InputError(f"{self.path}: has no interactions below its header; check how it was written")
        return {position: table[str(position)] for position in types}

    def at(self, row: int) -> str:
        """Name of data row ``row`` (from 0) in messages: the file and the line, from 1."""
        return f"{self.path}: row {self._line_and_cells(row)[0]}"

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
        with reading(self.path), open(self.path, encoding="utf-8-sig", newline="") as file:
            rows, line = self._rows(file), 1
            next(rows)
            for cells in rows:
                if cells and row == 0:
                    return line + 1, cells
                row, line = row - bool(cells), rows.line_num
        raise IndexError(f"{self.path} has no such row")

    def _rows(self, lines):
        return csv.reader(lines, delimiter=self.separator, quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE)


def _first_undecodable(path: Path) -> int | None:
    """The row, from 1, of the first byte that is no UTF-8, in columns that are not read as well."""
    row = 1
    with reading(path), open(path, "rb") as file:
        while block := file.read(BLOCK) + file.readline():
            try:
                block.decode()
            except UnicodeDecodeError as error:
                return row + block.count(b"\n", 0, error.start)
            row += block.count(b"\n")
    return None


def _is_integer(cell: str) -> bool:
    """Whether it is an integer of 64 bits."""
    return re.fullmatch(r"\s*-?[0-9]+\s*", cell) is not None and -(2**63) <= int(cell) < 2**63
