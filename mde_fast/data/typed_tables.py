"""Tables whose columns have types, in a Parquet file or in memory; both are read as a DelimitedFile is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.interchange
import pyarrow.parquet

from ..errors import InputError
from .reading import first_line, reading

KINDS_IN_MEMORY = "a pandas or Polars DataFrame or an Arrow table"


class ParquetFile:
    """A Parquet file.

    Attributes:
        path: the file.
        header: names of its columns. types: their types.

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
        self.header, self.types = schema.names, schema.types

    def read(self, positions: dict[int, pa.DataType | None]) -> dict[int, pa.ChunkedArray]:
        """The columns at ``positions``, of the types that the file gives them.

        Text that is wanted as a dictionary comes as one: it repeats, and is kept once.
        """
        names = {position: self.header[position] for position in positions}
        repeating = [names[position] for position, kind in positions.items() if _is_dictionary(kind)]
        try:
            with reading(self.path):
                table = pyarrow.parquet.read_table(
                    self.path, columns=list(names.values()), partitioning=None, read_dictionary=repeating
                )
        except pa.ArrowInvalid as error:
            raise InputError(f"{self.path}: cannot be read as Parquet: {first_line(error)}") from error
        if len(table) == 0:
            raise InputError(f"{self.path}: has no rows; check how it was written")
        return {position: table[name] for position, name in names.items()}

    def at(self, row: int) -> str:
        """Name of row ``row`` (from 0) in messages."""
        return f"{self.path}: row {row + 1}"


class TableInMemory:
    """A DataFrame of pandas or Polars, or a table of Arrow.

    Args:
        table: whatever hands its columns to others by Arrow's or the DataFrames' protocol.
        name: what messages call it.

    Raises:
        InputError: it is no such table, a column of it has no one type, or it has no rows.
    """

    def __init__(self, table: Any, name: str) -> None:
        self.path = Path(name)
        try:
            self._table = _as_arrow(table)
        # Each library has errors of its own, and any of them says that its table cannot be handed over.
        except Exception as error:
            raise InputError(f"{name}: cannot be read as a table: {first_line(error)}") from error
        if len(self._table) == 0:
            raise InputError(f"{name}: has no rows; check how the table was made")
        self.header, self.types = self._table.column_names, self._table.schema.types

    def read(self, positions: dict[int, pa.DataType | None]) -> dict[int, pa.ChunkedArray]:
        """The columns at ``positions``, of the types that the table gives them."""
        return {position: self._table.column(position) for position in positions}

    def at(self, row: int) -> str:
        """Name of row ``row`` (from 0, as DataFrames count) in messages."""
        return f"{self.path}: row {row} (from 0)"


def is_table_in_memory(source: object) -> bool:
    """Whether it hands its columns to others."""
    return any(hasattr(source, protocol) for protocol in ("__arrow_c_stream__", "__dataframe__"))


def _as_arrow(table: Any) -> pa.Table:
    """The table in Arrow, its text in the types that the rest of the package knows."""
    arrow = pa.table(table) if hasattr(table, "__arrow_c_stream__") else pyarrow.interchange.from_dataframe(table)
    fields = [field.with_type(_without_views(field.type)) for field in arrow.schema]
    return arrow.cast(pa.schema(fields))


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Polars hands text over as views, which few functions of Arrow read."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    # By name, for versions of Arrow that know no views.
    return {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(kind), kind)


def _is_dictionary(kind: pa.DataType | None) -> bool:
    return kind is not None and pa.types.is_dictionary(kind)
