"""Full-catalogue ranking metrics, as MMRec computes them (the protocol of the paper's Table I)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ..data.dataset import InteractionDataset, Split
from ..errors import InputError
from ..kernels import CSRGraph, topk
from ..kernels.topk.primitives import mask_seen, select
from ..world import ALONE, World
from .by_columns import rank_by_columns
from .options import METRICS
from .scores import require_scores, require_vectors

CUTOFFS = (5, 10, 20, 50)
COMPARED_AT_ONCE = 2**20  # ranked items, a few MB

Rows = Sequence[int] | np.ndarray | Tensor
Pairs = tuple[Rows, Rows]  # users (n,), items (n,)


class Evaluator:
    """Ranks all items for the users of a split and measures how high their held-out items come.

    Items that the user has in TRAIN are never ranked; all others are, also those never trained on.

    Of several processes each has its columns of the embeddings, ranks for its share of the users, and gets the metrics
    of all.
    """

    def __init__(
        self,
        dataset: InteractionDataset,
        cutoffs: Sequence[int],
        device: torch.device | str = "cpu",
        world: World = ALONE,
    ):
        held_out = {
            part: split.matrix(dataset.num_users, dataset.num_items)
            for part, split in (("valid", dataset.valid), ("test", dataset.test))
        }
        self._prepare(dataset.train_matrix, held_out, cutoffs, device, world)

    @classmethod
    def from_interactions(
        cls,
        train: Pairs,
        held_out: Mapping[str, Pairs],
        *,
        num_users: int,
        num_items: int,
        cutoffs: Sequence[int] = CUTOFFS,
        device: torch.device | str = "cpu",
    ) -> Evaluator:
        """An evaluator of anybody's model, from user and item row numbers alone.

        Args:
            train: users and items never to be ranked for each other.
            held_out: part -> users and items, for instance ``{"test": (users, items)}``. Everyone who has any is
                measured, also without a training interaction. Repeated pairs count once.
            num_users, num_items: sizes of the score matrix.
            cutoffs: values of K.
            device: where rankings are made.

        Raises:
            InputError: a part that is empty or has ids out of range, or cut-offs below 1.
        """
        if not cutoffs or min(cutoffs) < 1:
            raise InputError(f"cutoffs={tuple(cutoffs)}: give one or more numbers, all 1 or more")
        matrices = {part: _matrix_of_pairs(part, pairs, num_users, num_items) for part, pairs in held_out.items()}
        for part, matrix in matrices.items():
            if matrix.nnz == 0:
                raise InputError(f"{part}: no interactions to evaluate on")
        self = cls.__new__(cls)
        self._prepare(_matrix_of_pairs("train", train, num_users, num_items), matrices, cutoffs, device)
        return self

    def _prepare(
        self, train: scipy.sparse.csr_matrix, held_out: dict, cutoffs: Sequence[int], device, world: World = ALONE
    ) -> None:
        self.cutoffs = sorted(set(cutoffs))
        self.device = torch.device(device)
        self.seen = CSRGraph.from_scipy(train, constant=1.0).to(self.device)
        self.held_out = held_out
        self.world = world

    def __call__(self, user_vectors: Tensor, item_vectors: Tensor, part: str) -> dict[str, float]:
        """Metrics of ``part`` (``valid`` or ``test``) for embeddings (U, E), (I, E), averaged over its users.

        Returns:
            ``recall@5``, ... for each metric and cut-off.

        Raises:
            InputError: embeddings of another shape, or a user or item whose embedding is not finite.
        """
        return average_metrics(self.per_user(user_vectors, item_vectors, part)[0])

    def per_user(
        self, user_vectors: Tensor, item_vectors: Tensor, part: str
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The metrics of each of the B users of ``part``, (B,) for each metric and cut-off, and those users (B,)."""
        ranked, users = self.rank(user_vectors, item_vectors, part)
        own = users[self.world.rows(len(users))]
        values = ranked_metrics(ranked, self.held_out[part][own], self.cutoffs)
        if self.world.size == 1:
            return values, users
        rows = torch.from_numpy(np.stack(list(values.values()), axis=1))  # (B / P, metrics)
        return dict(zip(values, self.world.rows_of_all(rows, len(users)).numpy().T)), users

    def of_scores(self, score: Callable[[Tensor], Tensor], part: str, *, batch_size: int = 256) -> dict[str, float]:
        """The same for a model that is no inner product.

        Args:
            score: users (B,) int64 -> their scores (B, I) of all items, larger is better, -inf never.
            part: which users.
            batch_size: B, the last batch is shorter.

        Raises:
            InputError: scores of another shape, or one that is NaN or +inf.
        """
        ranked, users = self.rank_scores(score, part, batch_size=batch_size)
        return average_metrics(ranked_metrics(ranked, self.held_out[part][users], self.cutoffs))

    def users(self, part: str) -> np.ndarray:
        """(B,) users who have held-out items in a part, ascending."""
        if part not in self.held_out:
            raise InputError(f"no part {part!r} to evaluate; choose from {', '.join(self.held_out)}")
        return np.flatnonzero(np.diff(self.held_out[part].indptr))

    def rank(self, user_vectors: Tensor, item_vectors: Tensor, part: str) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) items ranked for the B users of a split, K the largest cut-off, and those users (B,).

        Of several processes each ranks for its share of them alone, (B / P, K).
        """
        users = self.users(part)
        num_users, num_items = self.seen.shape
        vectors = (
            require_vectors(user_vectors, "user", num_users).to(self.device),
            require_vectors(item_vectors, "item", num_items).to(self.device),
        )
        rows, k = torch.from_numpy(users).to(self.device), self.cutoffs[-1]
        if self.world.size > 1:
            items = rank_by_columns(self.world, *vectors, rows, k, self.seen)
        else:
            _, items = topk(*vectors, k, users=rows, seen=self.seen)
        return items.cpu().numpy(), users

    @torch.no_grad()
    def rank_scores(
        self, score: Callable[[Tensor], Tensor], part: str, *, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`rank` by a function that scores, see :meth:`of_scores`."""
        users = self.users(part)
        num_items = self.seen.shape[1]
        ranked = []
        for block in torch.from_numpy(users).to(self.device).split(batch_size):
            scores = require_scores(torch.as_tensor(score(block)), block, num_items)
            scores = scores.to(self.device, copy=True)  # a model may hand out rows that it keeps
            mask_seen(scores, block, self.seen.rowptr, self.seen.columns)
            ranked.append(select(scores, min(self.cutoffs[-1], num_items))[1])
        return torch.cat(ranked).cpu().numpy(), users


def _matrix_of_pairs(part: str, pairs: Pairs, num_users: int, num_items: int) -> scipy.sparse.csr_matrix:
    """(U, I), a one for each pair."""
    users, items = (_row_numbers(part, name, column) for name, column in zip(("users", "items"), pairs))
    if users.shape != items.shape or users.ndim != 1:
        raise InputError(f"{part}: users {users.shape} and items {items.shape} must be two vectors of one length")
    for name, ids, limit in (("users", users, num_users), ("items", items, num_items)):
        if len(ids) and (ids.min() < 0 or ids.max() >= limit):
            raise InputError(f"{part}: {name} range from {ids.min()} to {ids.max()}, expected 0 to {limit - 1}")
    return Split(users, items).matrix(num_users, num_items)


def _row_numbers(part: str, name: str, column: Rows) -> np.ndarray:
    """(n,) int64. A mask or fractions would be taken for other rows than are meant."""
    rows = np.asarray(torch.as_tensor(column).cpu())
    if rows.size and rows.dtype.kind not in "iu":
        mask = " (of a mask, np.flatnonzero(mask))" if rows.dtype == bool else ""
        raise InputError(f"{part}: {name} are {rows.dtype}, expected integer row numbers{mask}")
    return rows.astype(np.int64)


def ranked_metrics(
    ranked: np.ndarray, relevant: scipy.sparse.csr_matrix, cutoffs: Sequence[int], *, hits: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Recall, precision, MAP and NDCG of each user at each cut-off.

    With h hits in the top K and m relevant items: recall h/m, precision h/K, MAP the precision at each hit's rank
    added up over min(m, K), NDCG with gain 1/log2(rank + 1) over the ideal of min(m, K) hits.

    Args:
        ranked: (B, K') item ids, best first; -1 for no item. Fewer columns than a cut-off count as misses.
        relevant: (B, I), a one for each relevant item; every row has one or more.
        cutoffs: values of K.
        hits: what :func:`hits_of` says of them, where it is known already.

    Returns:
        ``metric@K`` -> (B,) float64.
    """
    hits = hits_of(ranked, relevant) if hits is None else hits
    counts = np.diff(relevant.indptr).astype(np.float64)
    positions = np.arange(1, hits.shape[1] + 1)
    hits_so_far = hits.cumsum(axis=1)
    precision_sum = (hits * hits_so_far / positions).cumsum(axis=1)
    gain = (hits / np.log2(positions + 1)).cumsum(axis=1)
    result = {}
    for cutoff in cutoffs:
        last = min(cutoff, hits.shape[1]) - 1
        attainable = np.minimum(counts, cutoff)
        ideal_gain = (1 / np.log2(np.arange(1, int(attainable.max(initial=0)) + 1) + 1)).cumsum()
        result[f"recall@{cutoff}"] = hits_so_far[:, last] / counts
        result[f"precision@{cutoff}"] = hits_so_far[:, last] / cutoff
        result[f"map@{cutoff}"] = precision_sum[:, last] / attainable
        result[f"ndcg@{cutoff}"] = gain[:, last] / ideal_gain[attainable.astype(np.int64) - 1]
    return result


def hits_of(ranked: np.ndarray, relevant: scipy.sparse.csr_matrix) -> np.ndarray:
    """(B, K) float64, 1 where the ranked item is relevant: each relevant item is looked for in its row's ranking."""
    hits = np.zeros(ranked.shape)
    rows = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    step = max(1, COMPARED_AT_ONCE // max(1, ranked.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        pair, place = np.nonzero(ranked[block] == relevant.indices[start : start + step, None])
        hits[block[pair], place] = 1
    return hits


def average_metrics(per_user: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean over users."""
    return {name: float(values.mean()) for name, values in per_user.items()}


def format_metrics(metrics: dict[str, float], cutoffs: Sequence[int]) -> str:
    """A small table: a row per metric, a column per cut-off."""
    lines = [" " * 10 + "".join(f"{'@' + str(cutoff):>9}" for cutoff in cutoffs)]
    for metric in METRICS:
        lines.append(f"{metric:<10}" + "".join(f"{metrics[f'{metric}@{cutoff}']:>9.4f}" for cutoff in cutoffs))
    return "\n".join(lines)
