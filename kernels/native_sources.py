"""What the native kernels are compiled from; setup.py runs this file, before there is a torch to import."""

from __future__ import annotations

import hashlib
from pathlib import Path


def source_files(folder: Path) -> list[Path]:
    """Everything that a library is compiled from."""
    return sorted([folder / "native.cpp", *folder.glob("*.h"), *folder.glob("*/native.cpp")])


def fingerprint(folder: Path) -> str:
    """Of the sources; each library holds that of its own."""
    digest = hashlib.sha256()
    for file in source_files(folder):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
