"""Features that the user named: files, or tables in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.places import user_path
from .typed_tables import KINDS_IN_MEMORY, TableInMemory, is_table_in_memory


def feature_paths(features: Mapping[str, Any], folder: Path) -> frozenset[Path]:
    """Where the files among ``features`` lie; they need not be there.

    Args:
        features: modality -> path relative to ``folder`` or absolute, or anything else.
        folder: of the dataset.

    Raises:
        InputError: a path starts at a home folder that is not known.
    """
    return frozenset(_path(modality, file, folder) for modality, file in features.items() if _is_path(file))


def given_sources(features: Mapping[str, Any], folder: Path) -> dict[str, Path | TableInMemory]:
    """The file or the table of each modality, in the order of ``features``.

    Args:
        features, folder: as ``feature_paths`` takes them, or tables.

    Raises:
        InputError: a file is not there, or it is neither a file nor a table.
    """
    sources: dict[str, Path | TableInMemory] = {}
    for modality, given in features.items():
        if _is_path(given):
            _require_file(modality, given, folder)
            sources[modality] = _path(modality, given, folder)
        elif is_table_in_memory(given):
            sources[modality] = TableInMemory(given, modality)
        else:
            kind = type(given).__name__
            raise InputError(f"features {modality} of type {kind}: give a .npy or .parquet file, or {KINDS_IN_MEMORY}")
    return sources


def _is_path(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def _path(modality: str, file: str | os.PathLike, folder: Path) -> Path:
    return folder / user_path(file, f"--features {modality}={file}")


def _require_file(modality: str, file: str | os.PathLike, folder: Path) -> None:
    """Refuse a feature file that is not there, with the path it was looked for and the one to give instead."""
    path, from_here = _path(modality, file, folder), user_path(file)
    if os.path.exists(path):
        return
    remedy = f"give {modality}={os.path.relpath(from_here, folder)}" if os.path.exists(from_here) else "correct it"
    raise InputError(
        f"{path}: cannot be read: No such file or directory (--features {modality}={file}); a path is relative to the "
        f"dataset's folder {folder}, or absolute: {remedy}"
    )
