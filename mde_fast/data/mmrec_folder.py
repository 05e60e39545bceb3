"""MMRec's ``<name>.inter``: a tab-separated table whose ids are row numbers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ..errors import InputError
from .columns import ColumnNames, split_pairs
from .dataset import InteractionDataset, Split
from .delimited import DelimitedFile
from .row_ids import count_rows
from .split import SplitRule


def read_inter(path: Path, name: str, rule: SplitRule, columns: ColumnNames) -> InteractionDataset:
    """Read interactions, without features.

    The header is ``userID itemID [rating] [timestamp] x_label`` in any order and in common spellings; other columns
    are ignored. ``x_label`` is 0 train, 1 validation, 2 test; without it ``rule`` makes the split.

    Raises:
        InputError: the file, a column or a cell cannot be used.
    """
    file = DelimitedFile(path, "\t", quoted=False)
    if len(file.header) == 1:
        raise InputError(f"{path}: row 1: only one column, {file.header[0]!r}; separate the columns by tabs")
    position = columns.positions(file.header, path, temporal=rule.temporal)
    kinds = {
        "user": pa.int64(),
        "item": pa.int64(),
        "time": pa.string(),
        "split": pa.dictionary(pa.int32(), pa.string()),
    }
    table = file.read({at: kinds[role] for role, at in position.items()})

    users, items = (table.pop(position[role]).to_numpy() for role in ("user", "item"))
    num_users, num_items = count_rows("user", users, file.at), count_rows("item", items, file.at)
    splits, notes = split_pairs(Split(users, items), file, table, position, rule)
    del table, users, items
    return InteractionDataset.build(name, splits, num_users=num_users, num_items=num_items, notes=notes)
