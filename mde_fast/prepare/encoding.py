"""Features of a catalogue, batch by batch; what is done stays when the process ends, and is not done again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ..errors import InputError
from ..files.folder import Folder
from ..report.console import progress_bar
from .encoders import Encoder

PIECE = 256  # items that are encoded before something is written


@dataclass(frozen=True)
class Features:
    """Attributes:
    matrix: (n, F) float32; a row that is missing is the mean of the others.
    missing: (n,) bool.
    encoder: what made them.
    """

    matrix: np.ndarray
    missing: np.ndarray
    encoder: str


def encode(
    modality: str, contents: Sequence[Any], made_of: Sequence[str], load: Callable[[], Encoder], name: str, folder: Path
) -> Features:
    """Features of each item.

    Args:
        modality: for the progress bar and the names of files.
        contents: what the encoder takes of each item; None or an empty text where there is none.
        made_of: a text for each item that changes when its content does.
        load: makes the encoder, when something is left to do.
        name: of the model that was asked for.
        folder: where finished pieces are kept until :func:`forget`.

    Raises:
        InputError: no item has any content.
    """
    present = [row for row, content in enumerate(contents) if content]
    if not present:
        raise InputError(f"{modality}: no item has any; name other columns or folders, or leave {modality}s out")
    pieces = Folder(folder / f".{modality}-{_fingerprint(name, [made_of[row] for row in present])}")
    pieces.make(f"the pieces of {modality}")
    starts = range(0, len(present), PIECE)
    loaded: Encoder | None = None
    with progress_bar(total=len(present), desc=modality, unit="item", leave=False) as bar:
        for number, start in enumerate(starts):
            rows = present[start : start + PIECE]
            if not pieces.has(f"{number}.npy"):
                loaded = loaded or load()
                features = np.ascontiguousarray(loaded.encode([contents[row] for row in rows]), dtype=np.float32)
                pieces.save_array(f"{number}.npy", features)
                pieces.write_json("encoder.json", {"encoder": loaded.name})
            bar.update(len(rows))
    encoder = pieces.load_json("encoder.json", ("encoder",))["encoder"]
    made = np.concatenate([np.load(pieces.path / f"{number}.npy", allow_pickle=False) for number in range(len(starts))])
    missing = np.ones(len(contents), dtype=bool)
    missing[present] = False
    matrix = np.broadcast_to(
        made.mean(axis=0, dtype=np.float64).astype(np.float32), (len(contents), made.shape[1])
    ).copy()
    matrix[present] = made
    return Features(matrix, missing, encoder)


def forget(folder: Path, modality: str) -> None:
    """Remove the pieces of a modality, also those of other contents or models."""
    for pieces in folder.glob(f".{modality}-*"):
        shutil.rmtree(pieces, ignore_errors=True)


def _fingerprint(name: str, made_of: Sequence[str]) -> str:
    digest = xxhash.xxh3_64(name.encode())
    for text in made_of:
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()
