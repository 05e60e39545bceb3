"""A run's vectors for other programs: ``.npy``, Parquet with ids, an index of inner products."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from torch import Tensor

from .. import __version__
from ..errors import InputError
from ..files import VERSION_KEY, Folder
from .list_files import id_column
from .recommender import Recommender
from .vector_index import FILE as INDEX_FILE
from .vector_index import build_index, installed, measure, require_faiss, save_index

logger = logging.getLogger("mde_fast")

DESCRIPTION = "export.json"
ROWS_AT_ONCE = 2**16


def file_names() -> list[str]:
    """Every file that an export can have."""
    return [*(f"{kind}_vectors.{ending}" for kind in ("user", "item") for ending in ("npy", "parquet")), INDEX_FILE]


def export_vectors(
    run: Folder, output: str | Path, *, index: str | None = None, candidates: str = "known", k: int = 20
) -> dict[str, Any]:
    """Write a run's user and item vectors, and an index of the items that may be recommended.

    The inner product of a user's and an item's vector is the score by which the model ranks. Row i of
    ``user_vectors.npy`` belongs to the i-th id of ``user_vectors.parquet``; the same holds for items, and the index
    finds rows of these.

    Args:
        run: the run folder.
        output: the folder to make. One with an export in it is written anew.
        index: ``flat`` (exact), ``hnsw`` (approximate, for very many items) or ``none``; None for ``flat`` where faiss
            is installed and ``none``, with a line that says so, elsewhere.
        candidates: which items the index holds, see :class:`Recommender`.
        k: length of the lists by which the index is measured.

    Returns:
        What export.json holds.

    Raises:
        InputError: no run, a folder with other files in it, faiss is not installed, or nothing can be written.
    """
    recommender = Recommender.load(run.path)
    described = run.load_json("catalogue.json", ("dataset", "data"))
    shelf = recommender.candidate_rows(candidates)
    if index in ("flat", "hnsw"):
        require_faiss()
    if index is None:
        index = "flat" if installed() else "none"
        if index == "none":
            logger.warning("no index is written, for faiss is not installed; pip install 'mde_fast[index]' brings it")
    folder = Folder(output)
    _require_ours(folder.path)
    folder.make()
    folder.remove_leftovers()
    (folder.path / DESCRIPTION).unlink(missing_ok=True)  # last, so that a folder with one is whole
    (folder.path / INDEX_FILE).unlink(missing_ok=True)
    users, items = recommender.user_vectors.float(), recommender.item_vectors.float()
    _write_vectors(folder, "user", users, recommender.user_ids)
    _write_vectors(folder, "item", items, recommender.item_ids)
    result = {
        "run": str(run.path),
        "dataset": described["dataset"],
        "data": described["data"],
        "users": len(users),
        "items": len(items),
        "width": users.shape[1],
    }
    if index != "none":
        save_index(folder, build_index(items, shelf, index))
        trained = [row for row, known in enumerate(recommender.trained) if known]
        found = measure(folder.path / INDEX_FILE, users[trained], items, shelf, k)
        result["index"] = {"file": INDEX_FILE, "kind": index, "candidates": candidates, "items": len(shelf), **found}
    folder.write_json(DESCRIPTION, result)
    return result


def _write_vectors(folder: Folder, kind: str, vectors: Tensor, ids: list[Any]) -> None:
    matrix = np.ascontiguousarray(vectors.numpy())

    def write_parquet(path: Path) -> None:
        named, width = id_column(ids), matrix.shape[1]
        types = [("id", named.type), ("vector", pa.list_(pa.float32(), width))]
        schema = pa.schema(types, metadata={VERSION_KEY: __version__})
        with pyarrow.parquet.ParquetWriter(path, schema) as writer:
            for start in range(0, len(matrix), ROWS_AT_ONCE):
                block = matrix[start : start + ROWS_AT_ONCE]
                lists = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
                writer.write_table(pa.table([named.slice(start, len(block)), lists], schema=schema))

    folder.save_array(f"{kind}_vectors.npy", matrix)
    folder.write(f"{kind}_vectors.parquet", write_parquet)


def _require_ours(path: Path) -> None:
    """Refuse a folder with files that no export wrote."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; give a folder")
    ours = {DESCRIPTION, *file_names()}

    def is_ours(name: str) -> bool:  # also what a killed export was writing
        return name in ours or (name.endswith(".tmp") and any(name.startswith(f"{one}.") for one in ours))

    others = sorted(entry.name for entry in path.iterdir() if not is_ours(entry.name)) if path.is_dir() else []
    if others:
        raise InputError(f"{path}: has other files in it ({others[0]}); give a new folder")
