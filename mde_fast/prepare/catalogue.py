"""A shop's catalogue: of each item its texts as one, and the file of its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..data.columns import find_spelling, named_column
from ..data.delimited import DelimitedFile
from ..data.ids import id_cells
from ..data.reading import listed, reading, shown
from ..data.typed_tables import ParquetFile, TableInMemory
from ..errors import InputError
from .interactions import open_table

TEXTS = "title name headline categories category genres brand artist author description abstract".split()
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


@dataclass(frozen=True)
class Catalogue:
    """What is known of n items, which follow ``ids``.

    Attributes:
        ids: (n,) external ids.
        texts: the texts of each item as one, empty where there is none; None where no text was asked for.
        pictures: the file of each item's picture, None where there is none; None where none was asked for.
        said: lines for people: which columns were read.
    """

    ids: np.ndarray
    texts: list[str] | None
    pictures: list[Path | None] | None
    said: tuple[str, ...]


def read_catalogue(
    path: Path | None,
    ids: np.ndarray,
    *,
    item_column: str | None = None,
    text_columns: Sequence[str] = (),
    image_column: str | None = None,
    image_folder: Path | None = None,
) -> Catalogue:
    """Texts and pictures of the items ``ids`` (n,), matched by id.

    Args:
        path: a table, CSV, TSV, Parquet or JSON lines, with a row for each item; None for pictures by name alone.
        item_column: of the ids; found by its usual names otherwise.
        text_columns: joined in this order; by default those of the usual names, such as title and description.
        image_column: paths of pictures, relative to ``image_folder`` or to the table's folder.
        image_folder: alone, it holds a picture called after each item's id.

    Raises:
        InputError: the table or a column cannot be used, an id comes twice, or nothing in it is of these items.
    """
    texts: list[str] | None = None
    pictures: list[Path | None] | None = None
    said = []
    if path is not None:
        file = open_table(path)
        rows = _rows(file, path, ids, item_column)
        columns = _text_positions(file.header, path, text_columns)
        if columns:
            texts = _joined(file, columns, rows)
            said.append("texts: " + ", ".join(repr(file.header[column]) for column in columns))
        if image_column is not None:
            position = named_column(file.header, "image", image_column, path)
            named = file.read({position: pa.string()})[position].to_pylist()
            folder = image_folder or path.parent
            pictures = [None if row < 0 else _picture(folder, named[row]) for row in rows]
            said.append(f"pictures: {file.header[position]!r}, in {folder}")
    if image_folder is not None and image_column is None:
        pictures = _by_name(image_folder, ids)
        said.append(f"pictures: by item id, in {image_folder}")
    return Catalogue(ids, texts, pictures, tuple(said))


def _rows(
    file: DelimitedFile | ParquetFile | TableInMemory, path: Path, ids: np.ndarray, name: str | None
) -> np.ndarray:
    """(n,) row of each item in the table, -1 where it has none."""
    position = find_spelling(file.header, "item") if name is None else named_column(file.header, "item", name, path)
    if position is None and "id" in file.header:
        position = file.header.index("id")
    if position is None:
        raise InputError(f"{path}: no item column found among: {listed(file.header)}; name it with --item-column")
    cells = id_cells("item", file.read({position: pa.string()})[position], file.at)
    # Text on both sides: ids may be integers in one file and text in the other.
    row_of: dict[str, int] = {}
    names = [str(value) for value in cells.values.to_pylist()]
    for row, code in enumerate(cells.codes):
        if code < 0:
            raise InputError(f"{file.at(row)}: no item id; fill it in or drop the row")
        if row_of.setdefault(names[code], row) != row:
            raise InputError(f"{file.at(row)}: item id {shown(names[code])} appears twice; keep one row")
    rows = np.array([row_of.get(str(item), -1) for item in ids.tolist()], dtype=np.int64)
    if (rows < 0).all():
        raise InputError(
            f"{path}: none of its {len(row_of):,} items has interactions; its first is {shown(names[cells.codes[0]])}, "
            f"theirs {shown(ids[:1].tolist()[0])}"
        )
    return rows


def _text_positions(header: list[str], path: Path, names: Sequence[str]) -> list[int]:
    if names:
        return [named_column(header, "text", name, path) for name in names]
    plain = [column.split(":")[0].strip().lower() for column in header]
    return [plain.index(name) for name in TEXTS if name in plain]


def _joined(file: DelimitedFile | ParquetFile | TableInMemory, columns: list[int], rows: np.ndarray) -> list[str]:
    """The texts of each item, blanks within them as one space."""
    read = file.read(dict.fromkeys(columns, pa.string()))
    cells = [read[column].to_pylist() for column in columns]
    return [
        "" if row < 0 else ". ".join(filter(None, (" ".join(str(column[row] or "").split()) for column in cells)))
        for row in rows
    ]


def _picture(folder: Path, name: str | None) -> Path | None:
    """The file that a cell names; None for an empty cell or a file that is not there."""
    if not name:
        return None
    path = folder / name
    return path if path.is_file() else None


def _by_name(folder: Path, ids: np.ndarray) -> list[Path | None]:
    """``<folder>/<item id>.jpg`` and the like."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder (--image-folder); correct the path")
    with reading(folder):
        found = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES}
    pictures = [found.get(str(item)) for item in ids.tolist()]
    if not any(pictures):
        kinds = ", ".join(PICTURES)
        raise InputError(f"{folder}: holds no picture called after an item's id, such as {ids[0]}.jpg ({kinds})")
    return pictures
