"""Raw data to a dataset folder: ``interactions.parquet`` with its split, features, and the record of how."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from ..data.columns import read_times
from ..data.split import PARTS
from ..errors import InputError
from ..files.folder import Folder
from .catalogue import Catalogue, read_catalogue
from .encoders import LITE0, MINILM, image_encoder, text_encoder
from .encoding import Features, encode, forget
from .filters import Steps, at_least_rated, core, once, within
from .interactions import Interactions, read_interactions
from .splits import hold_out

logger = logging.getLogger("mde_fast")

RECORD = "prepare.json"


@dataclass(frozen=True)
class Wishes:
    """What :func:`prepare` is asked for.

    Attributes:
        interactions: file of interactions.
        user_column, item_column, time_column, weight_column: names of its columns; found where None.
        min_rating: leave out what is rated less.
        since, until: leave out what is before, or not before: numbers as the time column has, or ISO dates.
        min_user, min_item: users and items with fewer interactions are left out, again and again (k-core).
        split, split_ratios, split_seed: as :func:`hold_out` takes them.
        catalogue: table with a row for each item.
        catalogue_item_column: its ids.
        text_columns, image_column, image_folder: as :func:`read_catalogue` takes them.
        text_model, image_model: encoders.
        device: that encodes.
    """

    interactions: Path
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    min_rating: float | None = None
    since: str | None = None
    until: str | None = None
    min_user: int = 1
    min_item: int = 1
    split: str = "random"
    split_ratios: tuple[float, ...] = (0.8, 0.1, 0.1)
    split_seed: int = 0
    catalogue: Path | None = None
    catalogue_item_column: str | None = None
    text_columns: tuple[str, ...] = ()
    image_column: str | None = None
    image_folder: Path | None = None
    text_model: str = MINILM
    image_model: str = LITE0
    device: str = "cpu"


def prepare(output: str | Path, wishes: Wishes) -> dict[str, Any]:
    """Make the dataset folder ``output``; the same call goes on where a killed one stopped encoding.

    Returns:
        What prepare.json holds.

    Raises:
        InputError: anything given cannot be used; nothing already encoded is lost.
    """
    folder = Folder(output)
    _require_free(folder)
    interactions, steps = _filtered(wishes)
    held = hold_out(interactions, wishes.split, wishes.split_ratios, wishes.split_seed)
    counts = dict(zip(PARTS, np.bincount(held.parts, minlength=3).tolist()))
    empty = [part for part, count in counts.items() if not count]
    if empty:
        raise InputError(f"--split {wishes.split}: leaves nothing for {', '.join(empty)}; give other --split-ratios")
    for line in steps.lines():
        logger.info("%s", line)
    logger.info("split: %s; %s", held.said, ", ".join(f"{count:,} {part}" for part, count in counts.items()))
    catalogue = read_catalogue(
        wishes.catalogue,
        interactions.item_ids,
        item_column=wishes.catalogue_item_column,
        text_columns=wishes.text_columns,
        image_column=wishes.image_column,
        image_folder=wishes.image_folder,
    )
    folder.make("the dataset")
    modalities = {name: _record(made) for name, made in _write_features(folder, catalogue, wishes).items()}
    folder.write("interactions.parquet", lambda path: _write_interactions(path, interactions, held.parts))
    record = {
        "options": {name: value for name, value in asdict(wishes).items() if value is not None},
        "steps": steps.rows,
        "split": {"rule": held.said, **counts},
        "catalogue": list(catalogue.said),
        "modalities": modalities,
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "pyarrow": pa.__version__},
    }
    folder.write_json(RECORD, record)
    for name in modalities:
        forget(folder.path, name)
    return record


def _require_free(folder: Folder) -> None:
    """Refuse a folder with another's files: what lies beside a dataset may be taken for a part of it."""
    if not folder.path.exists() or folder.has(RECORD):
        return
    if not folder.path.is_dir():
        raise InputError(f"{folder.path}: is a file; name a folder to make")
    strange = sorted(name for name in os.listdir(folder.path) if not name.startswith(".") and ".tmp" not in name)
    own = {"interactions.parquet", "image_feat.npy", "text_feat.npy"}
    if set(strange) - own:
        raise InputError(f"{folder.path}: is not empty ({strange[0]}); name a new folder")


def _filtered(wishes: Wishes) -> tuple[Interactions, Steps]:
    names = {
        "user": wishes.user_column,
        "item": wishes.item_column,
        "time": wishes.time_column,
        "weight": wishes.weight_column,
    }
    steps = Steps()
    kept = steps.add("read", read_interactions(wishes.interactions, names))
    if wishes.min_rating is not None:
        kept = steps.add(f"rated {wishes.min_rating:g} or more", at_least_rated(kept, wishes.min_rating))
    if wishes.since is not None or wishes.until is not None:
        given = {name: end for name, end in (("since", wishes.since), ("until", wishes.until)) if end is not None}
        ends = {name: _moment(end, name) for name, end in given.items()}
        said = " ".join(f"{name} {end}" for name, end in given.items())
        kept = steps.add(said, within(kept, ends.get("since"), ends.get("until")))
    kept = steps.add("each pair once", once(kept))
    if wishes.min_user > 1 or wishes.min_item > 1:
        said = f"users with {wishes.min_user} or more, items with {wishes.min_item} or more"
        kept = steps.add(said, core(kept, wishes.min_user, wishes.min_item))
    return kept, steps


def _moment(text: str, name: str) -> float:
    """A number as it is, a date as the time column's dates are read."""

    def at(row: int) -> str:
        return f"--{name}"

    return float(read_times(pa.chunked_array([[text]]), at)[0])


def _write_features(folder: Folder, catalogue: Catalogue, wishes: Wishes) -> dict[str, Features]:
    """Modality -> its features, which are in the folder, a row for each item in the order of the ids."""
    made = {}
    if catalogue.pictures is not None:
        stamps = ["" if file is None else f"{file}:{file.stat().st_size}" for file in catalogue.pictures]
        made["image"] = encode(
            "image",
            catalogue.pictures,
            stamps,
            lambda: image_encoder(wishes.image_model, wishes.device),
            wishes.image_model,
            folder.path,
        )
    if catalogue.texts is not None:
        made["text"] = encode(
            "text",
            catalogue.texts,
            catalogue.texts,
            lambda: text_encoder(wishes.text_model, wishes.device),
            wishes.text_model,
            folder.path,
        )
    for name, features in made.items():
        count, missing = len(features.missing), int(features.missing.sum())
        logger.info("%s: %d features of %s items, %s", name, features.matrix.shape[1], f"{count:,}", features.encoder)
        if missing:
            logger.warning(
                "%s: %s of %s items have none; their rows are the mean of the others",
                name,
                f"{missing:,}",
                f"{count:,}",
            )
        folder.save_array(f"{name}_feat.npy", features.matrix)
    return made


def _record(made: Features) -> dict[str, Any]:
    return {
        "encoder": made.encoder,
        "features": made.matrix.shape[1],
        "items": len(made.missing),
        "missing": int(made.missing.sum()),
    }


def _write_interactions(path: Path, interactions: Interactions, parts: np.ndarray) -> None:
    """Columns user, item, time where there is one, and split, sorted by nothing: the file's own order."""
    columns: dict[str, Any] = {
        "user": _ids(interactions.user_ids, interactions.users),
        "item": _ids(interactions.item_ids, interactions.items),
    }
    if interactions.times is not None:
        columns["time"] = interactions.times
    words = pa.array(PARTS).dictionary_encode().dictionary
    columns["split"] = pa.DictionaryArray.from_arrays(pa.array(parts), words)
    pyarrow.parquet.write_table(pa.table(columns), path)


def _ids(ids: np.ndarray, rows: np.ndarray) -> pa.Array:
    """External ids of rows; text once each."""
    return pa.array(ids.tolist() if ids.dtype == object else ids).take(pa.array(rows))
