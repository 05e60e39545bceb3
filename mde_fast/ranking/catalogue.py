"""What a run keeps of its dataset, so that it can recommend without it: external ids and known interactions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xxhash
from torch import Tensor

from ..data.dataset import InteractionDataset, Split
from ..files import Folder
from ..kernels import CSRGraph

ENTRIES = ("data", "fingerprint", "features", "user_ids", "item_ids")  # that catalogue.json must have


def save_catalogue(run: Folder, dataset: InteractionDataset) -> None:
    """Write catalogue.json and catalogue.safetensors."""
    splits = (dataset.train, dataset.valid, dataset.test)
    known = Split(*(np.concatenate([getattr(split, side) for split in splits]) for side in ("users", "items")))
    seen = CSRGraph.from_scipy(known.matrix(dataset.num_users, dataset.num_items), constant=1.0)
    run.save_tensors("catalogue.safetensors", {"rowptr": seen.rowptr, "columns": seen.columns})
    run.write_json(
        "catalogue.json",
        {
            "dataset": dataset.name,
            "data": dataset.data,
            "fingerprint": dataset.fingerprint,
            "features": feature_hashes(dataset),
            "user_ids": dataset.user_ids.tolist(),
            "item_ids": dataset.item_ids.tolist(),
        },
    )


def describe_catalogue(run: Folder) -> dict[str, Any]:
    """What catalogue.json holds: the dataset's name and kind, its hashes, the external ids."""
    return run.load_json("catalogue.json", ENTRIES)


def load_catalogue(run: Folder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The same, and the known interactions as ``rowptr`` (U + 1,) and ``columns``."""
    return describe_catalogue(run), run.load_tensors("catalogue.safetensors")


def feature_hashes(dataset: InteractionDataset) -> dict[str, str]:
    """Modality -> hash of its features."""
    return {name: xxhash.xxh3_128_hexdigest(matrix.data) for name, matrix in dataset.features.items()}
