"""Recommendations in files that other programs read: Parquet, CSV, JSON lines; written block by block."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from .. import __version__
from ..errors import InputError
from ..files import VERSION_KEY, Folder
from ..files.places import user_path
from .blocks import Block

ENDINGS = (".parquet", ".csv", ".jsonl")


def list_file(text: str) -> Path:
    """The file that ``text`` names, of an ending that :func:`write_lists` writes.

    Raises:
        InputError: another ending, or a folder.
    """
    path = user_path(text, "--output")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{text}: --output writes files that end in {', '.join(ENDINGS)}; give one of these")
    if path.is_dir():
        raise InputError(f"{text}: is a folder; give the name of a file in it")
    return path


def write_lists(
    path: Path, blocks: Iterable[Block], kind: str, *, subjects: Sequence[Any], items: Sequence[Any]
) -> tuple[int, int]:
    """Write ranked lists, best first, in the form of the file's ending; the file is there whole or not at all.

    Parquet and CSV have a row per place: the user, the rank from 1, the item, its score. JSON lines have a user each.

    Args:
        path: as :func:`list_file` gave it. Its folder is made where there is none.
        blocks: the lists. Those whom nothing is known of are left out.
        kind: ``user`` or ``item``, whose lists they are.
        subjects: external ids of everyone who can be in the blocks; they decide the type of their Parquet column.
        items: (I,) external id of each row.

    Returns:
        How many lists and how many rows were written.

    Raises:
        InputError: it cannot be written.
    """
    folder = Folder(path.parent)
    folder.make(f"{path.name}'s folder")
    write = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines}[path.suffix.lower()]
    counts = np.zeros(2, dtype=np.int64)

    def counted() -> Iterator[tuple[list[Any], np.ndarray, np.ndarray]]:
        for block in blocks:
            kept = (~block.skipped).numpy()
            rows, scores = block.rows.numpy()[kept], block.scores.numpy()[kept]
            counts[:] += len(rows), int((rows >= 0).sum())
            yield [subject for subject, keep in zip(block.subjects, kept) if keep], rows, scores

    folder.write(path.name, lambda temporary: write(temporary, counted(), kind, subjects, items))
    return int(counts[0]), int(counts[1])


def names_of_columns(kind: str) -> list[str]:
    """Whose list, place, item, score."""
    return [kind, "rank", "similar_item" if kind == "item" else "item", "score"]


def id_column(ids: Iterable[Any]) -> pa.Array:
    """Ids as a column of numbers or of text; as text where they are mixed."""
    ids = list(ids)
    try:
        return pa.array(ids)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array(map(str, ids), pa.string())


Lists = Iterator[tuple[list[Any], np.ndarray, np.ndarray]]  # subjects, rows (B, K), scores (B, K)


def _write_parquet(path: Path, lists: Lists, kind: str, subjects: Sequence[Any], items: Sequence[Any]) -> None:
    named, subject_type = id_column(items), id_column(subjects).type
    types = [subject_type, pa.int32(), named.type, pa.float32()]
    schema = pa.schema(list(zip(names_of_columns(kind), types)), metadata={VERSION_KEY: __version__})
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for who, rows, scores in lists:
            user, place = np.nonzero(rows >= 0)
            own = map(str, who) if pa.types.is_string(subject_type) else who
            columns = [
                pa.array(own, subject_type).take(pa.array(user)),
                pa.array((place + 1).astype(np.int32)),
                named.take(pa.array(rows[user, place])),
                pa.array(scores[user, place].astype(np.float32)),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _write_csv(path: Path, lists: Lists, kind: str, subjects: Sequence[Any], items: Sequence[Any]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names_of_columns(kind))
        for who, rows, scores in lists:
            for subject, row, score_row in zip(who, rows.tolist(), scores.tolist()):
                found = ((item, score) for item, score in zip(row, score_row) if item >= 0)
                writer.writerows(
                    [subject, rank, items[item], f"{score:.6f}"] for rank, (item, score) in enumerate(found, 1)
                )


def _write_json_lines(path: Path, lists: Lists, kind: str, subjects: Sequence[Any], items: Sequence[Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for who, rows, scores in lists:
            for subject, row, score_row in zip(who, rows.tolist(), scores.tolist()):
                found = [{"item": items[item], "score": score} for item, score in zip(row, score_row) if item >= 0]
                file.write(json.dumps({kind: subject, "items": found}, ensure_ascii=False) + "\n")
