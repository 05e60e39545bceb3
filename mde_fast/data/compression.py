"""Text files that may be compressed, ``sales.csv.gz``: their endings, and their bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
TEXTS = (".inter", ".csv", ".tsv")


def ending(path: Path) -> str:
    """The ending that tells the form: ``.csv`` of ``sales.csv`` and of ``sales.csv.gz``."""
    return Path(path.stem).suffix if is_compressed(path) else path.suffix


def bare_name(path: Path) -> str:
    """The name without the ending that tells the form: ``sales`` of ``sales.csv.gz``."""
    return Path(path.stem).stem if is_compressed(path) else path.stem


def is_compressed(path: Path) -> bool:
    """Whether it is called like a text that was compressed."""
    return path.suffix in COMPRESSIONS and Path(path.stem).suffix in TEXTS


def opened(path: Path) -> BinaryIO:
    """The file, open for reading, its bytes as they were before it was compressed.

    Raises:
        OSError: there, or at any later read: it cannot be read, or is damaged.
    """
    if not is_compressed(path):
        return open(path, "rb")
    stream = pa.input_stream(str(path), compression=COMPRESSIONS[path.suffix])
    return io.BufferedReader(cast(io.RawIOBase, stream))
