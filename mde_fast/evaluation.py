"""Full-catalogue ranking metrics, as MMRec computes them (the protocol of the paper's Table I)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .data.dataset import InteractionDataset, Split
from .kernels import CSRGraph, topk

METRICS = ("recall", "precision", "map", "ndcg")


class Evaluator:
    """Ranks all items for the users of a split and measures how high their held-out items come.

    Items that the user has in TRAIN are never ranked; all others are, also those never trained on.
    """

    def __init__(self, dataset: InteractionDataset, cutoffs: Sequence[int], device: torch.device | str = "cpu"):
        self.cutoffs = sorted(set(cutoffs))
        self.device = torch.device(device)
        self.seen = CSRGraph.from_scipy(dataset.train_matrix, constant=1.0).to(self.device)
        self.held_out = {
            part: split.matrix(dataset.num_users, dataset.num_items)
            for part, split in (("valid", dataset.valid), ("test", dataset.test))
        }

    def __call__(self, user_vectors: Tensor, item_vectors: Tensor, part: str) -> dict[str, float]:
        """Metrics of ``part`` (``valid`` or ``test``) for embeddings (U, E), (I, E), averaged over its users.

        Returns:
            ``recall@5``, ... for each metric and cut-off.
        """
        return average_metrics(self.per_user(user_vectors, item_vectors, part)[0])

    def per_user(
        self, user_vectors: Tensor, item_vectors: Tensor, part: str
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The metrics of each of the B users of ``part``, (B,) for each metric and cut-off, and those users (B,)."""
        ranked, users = self.rank(user_vectors, item_vectors, part)
        return ranked_metrics(ranked, self.held_out[part][users], self.cutoffs), users

    def rank(self, user_vectors: Tensor, item_vectors: Tensor, part: str) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) items ranked for the B users of a split, K the largest cut-off, and those users (B,)."""
        users = np.flatnonzero(np.diff(self.held_out[part].indptr))
        _, items = topk(
            user_vectors.to(self.device),
            item_vectors.to(self.device),
            self.cutoffs[-1],
            users=torch.from_numpy(users).to(self.device),
            seen=self.seen,
        )
        return items.cpu().numpy(), users


def ranked_metrics(
    ranked: np.ndarray, relevant: scipy.sparse.csr_matrix, cutoffs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Recall, precision, MAP and NDCG of each user at each cut-off.

    With h hits in the top K and m relevant items: recall h/m, precision h/K, MAP the precision at each hit's rank
    added up over min(m, K), NDCG with gain 1/log2(rank + 1) over the ideal of min(m, K) hits.

    Args:
        ranked: (B, K') item ids, best first; -1 for no item. Fewer columns than a cut-off count as misses.
        relevant: (B, I), a one for each relevant item; every row has one or more.
        cutoffs: values of K.

    Returns:
        ``metric@K`` -> (B,) float64.
    """
    hits = _hits(ranked, relevant)
    counts = np.diff(relevant.indptr).astype(np.float64)
    positions = np.arange(1, hits.shape[1] + 1)
    hits_so_far = hits.cumsum(axis=1)
    precision_sum = (hits * hits_so_far / positions).cumsum(axis=1)
    gain = (hits / np.log2(positions + 1)).cumsum(axis=1)
    result = {}
    for cutoff in cutoffs:
        last = min(cutoff, hits.shape[1]) - 1
        attainable = np.minimum(counts, cutoff)
        ideal_gain = (1 / np.log2(np.arange(1, cutoff + 1) + 1)).cumsum()
        result[f"recall@{cutoff}"] = hits_so_far[:, last] / counts
        result[f"precision@{cutoff}"] = hits_so_far[:, last] / cutoff
        result[f"map@{cutoff}"] = precision_sum[:, last] / attainable
        result[f"ndcg@{cutoff}"] = gain[:, last] / ideal_gain[attainable.astype(np.int64) - 1]
    return result


def _hits(ranked: np.ndarray, relevant: scipy.sparse.csr_matrix) -> np.ndarray:
    """(B, K) float64, 1 where the ranked item is relevant: one search in the sorted list of (row, item)."""
    num_items = relevant.shape[1]
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    relevant_keys = np.sort(rows * num_items + relevant.indices)
    keys = np.arange(len(ranked))[:, None] * num_items + ranked
    place = np.searchsorted(relevant_keys, keys).clip(max=len(relevant_keys) - 1)
    return ((relevant_keys[place] == keys) & (ranked >= 0)).astype(np.float64)


def average_metrics(per_user: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean over users."""
    return {name: float(values.mean()) for name, values in per_user.items()}


def format_metrics(metrics: dict[str, float], cutoffs: Sequence[int]) -> str:
    """A small table: a row per metric, a column per cut-off."""
    lines = [" " * 10 + "".join(f"{'@' + str(cutoff):>9}" for cutoff in cutoffs)]
    for metric in METRICS:
        lines.append(f"{metric:<10}" + "".join(f"{metrics[f'{metric}@{cutoff}']:>9.4f}" for cutoff in cutoffs))
    return "\n".join(lines)
