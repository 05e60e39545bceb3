"""Test metrics of each user at each run's best epoch, computed anew from its embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.dataset import InteractionDataset
from ..ranking.evaluator import Evaluator
from ..report.console import progress_bar
from ..runs.life import check_same_dataset
from ..runs.run import RunFolder
from .plan import PlannedRun

METRICS = ("recall@5", "precision@5", "map@5", "ndcg@5", "recall@20", "ndcg@20")
CUTOFFS = (5, 20)


def measure(runs: Sequence[PlannedRun], dataset: InteractionDataset) -> dict[str, dict[str, np.ndarray]]:
    """run name -> metric -> (n,) of the test users, always in the same order, for the runs that are finished.

    Raises:
        InputError: a run was trained on other data than are there now.
    """
    finished = [run for run in runs if run.result() is not None]
    evaluator = Evaluator(dataset, CUTOFFS)
    measured = {}
    for run in progress_bar(finished, desc="test metrics of each user", unit="run", leave=False):
        folder = RunFolder.open(run.path)
        check_same_dataset(folder, dataset)
        _, tensors = folder.checkpoints.load("best")
        values, _ = evaluator.per_user(tensors["user_embeddings"], tensors["item_embeddings"], "test")
        measured[run.name] = {metric: values[metric] for metric in METRICS}
    return measured
