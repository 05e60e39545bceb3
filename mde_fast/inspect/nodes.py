"""What a trained model holds of each node: preference, agreement of its modalities, degree, recall."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..errors import InputError
from ..models import HasPreferences
from ..ranking.evaluator import Evaluator
from ..runs.life import rebuild_model

RECALL = "recall@20"


@dataclass(frozen=True)
class Side:
    """The users or the items, n nodes.

    Attributes:
        name: ``users`` or ``items``.
        ids: external ids, (n,).
        degree: training interactions, (n,).
        preference: alpha of eq. 5, (n, M), rows adding up to 1.
        cosine: between the rows of H (eq. 4) of each pair of modalities, (n, pairs).
        recall: test recall@20 of the users, (n,), NaN for those without a test item; None for items.
    """

    name: str
    ids: np.ndarray
    degree: np.ndarray
    preference: np.ndarray
    cosine: np.ndarray
    recall: np.ndarray | None = None


@dataclass(frozen=True)
class Inspection:
    """A run's best epoch, node by node.

    Attributes:
        modalities: names of the columns of ``preference``. pairs: of the columns of ``cosine``.
        notes: lines that tell how the preferences are to be read under the run's options.
    """

    run: str
    dataset: str
    data: str
    best_epoch: int
    modalities: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    users: Side
    items: Side
    notes: tuple[str, ...]

    def pair_names(self) -> list[str]:
        """Of the columns of ``cosine``."""
        return [f"{left} / {right}" for left, right in self.pairs]

    def shown(self) -> list[tuple[int, str]]:
        """(column, modality) to show: of two modalities one says all, as their preferences add up to 1."""
        columns = list(enumerate(self.modalities))
        return columns if len(columns) > 2 else columns[-1:]


@torch.no_grad()
def inspect_run(path: str | Path, *, data_dir: str | None = None) -> Inspection:
    """Look into the model of a run's best epoch.

    Args:
        path: the run folder.
        data_dir: where dataset folders are now, when they have moved.

    Raises:
        InputError: not a run, its data have changed, or its model has no preferences.
    """
    model, dataset, state = rebuild_model(path, data_dir=data_dir)
    if not isinstance(model, HasPreferences):
        raise InputError(f"{path}: its model has no modality preferences to show; inspect a run of --model mde")
    evaluator = Evaluator(dataset, (20,))
    user_vectors, item_vectors = model.embeddings()
    recall, tested = evaluator.per_user(user_vectors.float(), item_vectors.float(), "test")
    recall_of_users = np.full(dataset.num_users, np.nan)
    recall_of_users[tested] = recall[RECALL]
    preferences = [alpha.numpy() for alpha in model.preference_values()]
    cosines = [_cosines(h.float()) for h in model.encode()]
    train = dataset.train_matrix
    degrees = [np.diff(train.indptr), np.bincount(train.indices, minlength=dataset.num_items)]
    return Inspection(
        run=str(path),
        dataset=dataset.name,
        data=dataset.data,
        best_epoch=state["epoch"],
        modalities=model.modalities,
        pairs=tuple(combinations(model.modalities, 2)),
        users=Side("users", dataset.user_ids, degrees[0], preferences[0], cosines[0], recall_of_users),
        items=Side("items", dataset.item_ids, degrees[1], preferences[1], cosines[1]),
        notes=model.preference_notes(),
    )


def _cosines(h: torch.Tensor) -> np.ndarray:
    """(n, pairs) cosines of H (n, M, D)."""
    unit = F.normalize(h, dim=2)
    pairs = combinations(range(h.shape[1]), 2)
    return torch.stack([(unit[:, left] * unit[:, right]).sum(1) for left, right in pairs], dim=1).numpy()
