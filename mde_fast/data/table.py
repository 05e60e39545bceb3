"""Tables of interactions, CSV, Parquet or in memory, with user and item ids of any type."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from .columns import ColumnNames, split_pairs
from .compression import ending
from .dataset import InteractionDataset, Split
from .delimited import DelimitedFile
from .ids import id_cells, refuse_repeated_header, rows_of_ids
from .split import SplitRule
from .typed_tables import ParquetFile, TableInMemory


def read_table(source: Path | TableInMemory, name: str, rule: SplitRule, columns: ColumnNames) -> InteractionDataset:
    """Read one row per interaction, without features.

    Row r of the dataset is the r-th of the sorted unique ids. A CSV column (cells separated by comma, semicolon or
    tab) holds integers if each of its cells is written as an integer is, and strings otherwise: ``0012`` stays a
    string. Without a split column ``rule`` makes the split.

    Raises:
        InputError: the file, a column or a cell cannot be used.
    """
    written = isinstance(source, Path) and ending(source) != ".parquet"
    file = _open(source)
    position = columns.positions(file.header, file.path, temporal=rule.temporal)
    repeating = pa.dictionary(pa.int32(), pa.string())
    table = file.read({at: pa.string() if role == "time" else repeating for role, at in position.items()})

    # Out of the table they go, so that a column and what is made of it are not kept both.
    cells = {role: id_cells(role, table.pop(position[role]), file.at) for role in ("user", "item")}
    refuse_repeated_header(file.header, cells["user"], cells["item"], file.at)
    users, user_ids = rows_of_ids("user", cells.pop("user"), file.at, written=written)
    items, item_ids = rows_of_ids("item", cells.pop("item"), file.at, written=written)
    names = ", ".join(f"{role} {file.header[column]!r}" for role, column in position.items())
    splits, notes = split_pairs(Split(users, items), file, table, position, rule)
    del table, users, items
    return InteractionDataset.build(
        name,
        splits,
        num_users=len(user_ids),
        num_items=len(item_ids),
        user_ids=user_ids,
        item_ids=item_ids,
        notes=(f"columns: {names}", *notes),
    )


def _open(source: Path | TableInMemory) -> DelimitedFile | ParquetFile | TableInMemory:
    if isinstance(source, TableInMemory):
        return source
    return ParquetFile(source) if ending(source) == ".parquet" else DelimitedFile(source, ",;\t", quoted=True)
