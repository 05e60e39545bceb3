"""What a run keeps of its dataset, so that it can recommend without it: external ids and known interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from torch import Tensor

from ..data.dataset import InteractionDataset, Split
from ..files import Folder
from ..kernels import CSRGraph

ENTRIES = ("data", "fingerprint", "features", "user_ids", "item_ids")  # that catalogue.json must have


@dataclass(frozen=True)
class Catalogue:
    """Who and what there is, in the data's own ids.

    Attributes:
        user_ids, item_ids: external id of each row, (U,) and (I,).
        known: (U, I) every interaction of the data, held-out ones included.
        train: (U, I) those that the model was trained on; None in runs of version 0.1.0, which did not keep them.
        content: (I,) bool, items with features of their own; None there too.
    """

    user_ids: Sequence[Any]
    item_ids: Sequence[Any]
    known: CSRGraph
    train: CSRGraph | None = None
    content: Tensor | None = None


def save_catalogue(run: Folder, dataset: InteractionDataset) -> None:
    """Write catalogue.json and catalogue.safetensors."""
    known, train = _graph(dataset.known, dataset), _graph(dataset.train, dataset)
    run.save_tensors(
        "catalogue.safetensors",
        {
            "rowptr": known.rowptr,
            "columns": known.columns,
            "train_rowptr": train.rowptr,
            "train_columns": train.columns,
            "content": torch.from_numpy(dataset.items_with_content),
        },
    )
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


def _graph(split: Split, dataset: InteractionDataset) -> CSRGraph:
    return CSRGraph.from_scipy(split.matrix(dataset.num_users, dataset.num_items), constant=1.0)


def describe_catalogue(run: Folder) -> dict[str, Any]:
    """What catalogue.json holds: the dataset's name and kind, its hashes, the external ids."""
    return run.load_json("catalogue.json", ENTRIES)


def load_catalogue(run: Folder) -> Catalogue:
    """What :func:`save_catalogue` wrote, now or in an older version."""
    described, tensors = describe_catalogue(run), run.load_tensors("catalogue.safetensors")
    shape = len(described["user_ids"]), len(described["item_ids"])
    train = None
    if "train_rowptr" in tensors:
        train = CSRGraph(tensors["train_rowptr"], tensors["train_columns"], shape)
    return Catalogue(
        user_ids=described["user_ids"],
        item_ids=described["item_ids"],
        known=CSRGraph(tensors["rowptr"], tensors["columns"], shape),
        train=train,
        content=tensors.get("content"),
    )


def feature_hashes(dataset: InteractionDataset) -> dict[str, str]:
    """Modality -> hash of its features."""
    return {name: xxhash.xxh3_128_hexdigest(matrix.data) for name, matrix in dataset.features.items()}
