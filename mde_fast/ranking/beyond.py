"""What ranked lists are like beside being right: whom they serve, which items they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from .options import METRICS

MEASURES = ("hit", "mrr", "coverage", "gini", "novelty", "popularity", "tail")
HEAD = 0.8  # share of the train interactions that the short head has


class BeyondAccuracy:
    """Measures of lists that are ranked already, for all users and by groups of them.

    With L(u) the first K items for user u, n(i) the train interactions of item i, and I items:

    - ``hit@K``: share of users with a relevant item in L(u) (RecBole's Hit, Elliot's HR).
    - ``mrr@K``: 1 over the rank of the first relevant item in L(u), 0 without one, averaged (MRR of both).
    - ``coverage@K``: number of items that are in any list, over I (RecBole's ItemCoverage, of which Elliot gives the
      number; Ge et al. 2010).
    - ``gini@K``: sum_j (2j - I - 1) c(j) / (I sum_j c(j)), c(1) <= ... <= c(I) the numbers of lists that an item is in:
      0 where all are shown alike, towards 1 where few are (RecBole's GiniIndex). Elliot's Gini is
      1 - this I / (I - 1), so that more is more even.
    - ``novelty@K``: mean of -log2(n(i) / sum n) over L(u), averaged: bits of surprise (mean self-information, Zhou et
      al. 2010, with the information of an item as Elliot's EFD has it: of one never trained on that of the rarest;
      EFD itself discounts by rank and counts relevant items alone).
    - ``popularity@K``: mean of n(i) over L(u), averaged (RecBole's AveragePopularity, Elliot's ARP).
    - ``tail@K``: share of L(u) in the long tail, averaged: all items but the most popular ones that together have 80 %
      of the train interactions (Elliot's APLT; Abdollahpouri et al. 2017). RecBole's TailPercentage takes the tenth of
      the items with the fewest instead.
    """

    def __init__(self, train: scipy.sparse.csr_matrix, cutoffs: Sequence[int]):
        """
        Args:
            train: (U, I), a one for each train interaction.
            cutoffs: values of K.
        """
        self.cutoffs = sorted(set(cutoffs))
        self.num_items = train.shape[1]
        self.interactions = np.diff(train.indptr)  # (U,)
        popularity = np.bincount(train.indices, minlength=self.num_items)
        self._values = {
            "novelty": item_information(popularity),
            "popularity": popularity.astype(np.float64),
            "tail": long_tail(popularity).astype(np.float64),
        }

    def __call__(
        self,
        ranked: np.ndarray,
        users: np.ndarray,
        hits: np.ndarray,
        accuracy: Mapping[str, np.ndarray],
        limits: Sequence[int] = (),
    ) -> dict[str, Any]:
        """The measures of everyone's lists, and all metrics by groups of users.

        Args:
            ranked: (B, K') items, best first; -1 for no item, at the end.
            users: (B,) whose lists they are.
            hits: (B, K'), 1 where the item is relevant, else 0.
            accuracy: metric -> (B,) its value for each user, averaged for each group.
            limits: see :func:`user_groups`.

        Returns:
            ``all``: ``measure@K`` -> value. ``groups``: for each group ``train_interactions`` (fewest and most),
            ``users`` (their number), the measures and the averages of ``accuracy``.
        """
        group, bounds = user_groups(self.interactions[users], limits)
        values = {**accuracy, **self._of_hits(hits)}
        shown, weight = np.zeros((2, len(self.cutoffs), self.num_items))
        groups = []
        for number, (fewest, most) in enumerate(bounds):
            rows = np.flatnonzero(group == number)
            own, own_weight = self._of_lists(ranked[rows])
            shown, weight = shown + own, weight + own_weight
            averages = {name: float(value[rows].mean()) for name, value in values.items()}
            own_values = self._of_items(own, own_weight / len(rows))
            groups.append({"train_interactions": [fewest, most], "users": len(rows), **averages, **own_values})
        averages = {name: float(value.mean()) for name, value in values.items() if name not in accuracy}
        return {"all": {**averages, **self._of_items(shown, weight / len(users))}, "groups": groups}

    def _of_hits(self, hits: np.ndarray) -> dict[str, np.ndarray]:
        """``hit@K`` and ``mrr@K`` of each user, (B,)."""
        first = hits.argmax(1)
        rank = np.where(hits[np.arange(len(hits)), first] > 0, first + 1.0, np.inf)
        result = {}
        for cutoff in self.cutoffs:
            result[f"hit@{cutoff}"] = (rank <= cutoff).astype(np.float64)
            result[f"mrr@{cutoff}"] = (rank <= cutoff) / rank
        return result

    def _of_lists(self, ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cut-offs, I) in how many lists an item is, and the sum over these of 1 / their length.

        From the second follow all averages over lists of a value that an item has.
        """
        ends = [min(cutoff, ranked.shape[1]) for cutoff in self.cutoffs]
        parts = [ranked[:, start:end].ravel() for start, end in zip([0, *ends], ends)]
        counts = [np.bincount(part + 1, minlength=self.num_items + 1)[1:] for part in parts]
        shown = np.cumsum(counts, axis=0)
        if ranked.min(initial=0) >= 0:
            return shown, shown / np.array(ends)[:, None]
        weights = []
        for end in ends:
            there = ranked[:, :end] >= 0
            length = there.sum(1, keepdims=True)
            each = np.broadcast_to(1 / np.maximum(length, 1), there.shape)[there]
            weights.append(np.bincount(ranked[:, :end][there], each, minlength=self.num_items))
        return shown, np.stack(weights)

    def _of_items(self, shown: np.ndarray, weight: np.ndarray) -> dict[str, float]:
        """The other measures from :meth:`_of_lists`, the second divided by the number of lists."""
        result = {}
        for place, cutoff in enumerate(self.cutoffs):
            result[f"coverage@{cutoff}"] = np.count_nonzero(shown[place]) / self.num_items
            result[f"gini@{cutoff}"] = gini(shown[place])
            for name, value in self._values.items():  # no inner product of BLAS, whose threads cost more than they do
                result[f"{name}@{cutoff}"] = float((weight[place] * value).sum())
        return result


def gini(counts: np.ndarray) -> float:
    """Gini's index of counts (I,): sum_j (2j - I - 1) c(j) / (I sum_j c(j)), c ascending, j from 1; 0 for no counts."""
    shown = np.sort(counts[counts > 0])
    total, items = int(shown.sum()), len(counts)
    weights = 2 * np.arange(items - len(shown) + 1, items + 1) - items - 1  # those never shown add nothing
    return float((weights * shown).sum() / (items * total)) if total else 0.0


def item_information(popularity: np.ndarray) -> np.ndarray:
    """(I,) float64, -log2 of an item's share of the train interactions (I,); of one without any that of the rarest."""
    rarest = popularity[popularity > 0].min()
    return -np.log2(np.maximum(popularity, rarest) / popularity.sum())


def long_tail(popularity: np.ndarray) -> np.ndarray:
    """(I,) bool, items outside the short head.

    The head are the most popular items, equals by ascending number, until they have ``HEAD`` of the interactions (I,).
    """
    order = np.argsort(-popularity, kind="stable")
    before = popularity[order].cumsum() - popularity[order]
    tail = np.ones(len(popularity), dtype=bool)
    tail[order[before < HEAD * popularity.sum()]] = False
    return tail


def user_groups(interactions: np.ndarray, limits: Sequence[int] = ()) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Users by their number of train interactions.

    Args:
        interactions: (B,).
        limits: the most that users of each group have, ascending; the last group has more. Without them users are
            divided into quarters, those with equal numbers staying together.

    Returns:
        (B,) each one's group, ascending with the number, and the fewest and most train interactions in each group. A
        group without a user is none.
    """
    quarters = np.quantile(interactions, (0.25, 0.5, 0.75), method="inverted_cdf")
    bounds = np.unique(np.asarray(limits) if len(limits) else quarters)
    _, group = np.unique(np.searchsorted(bounds, interactions), return_inverse=True)
    members = [interactions[group == number] for number in range(group.max() + 1)]
    return group, [(int(own.min()), int(own.max())) for own in members]


def format_beyond(beyond: dict[str, Any], cutoffs: Sequence[int], shown: int) -> str:
    """Two small tables: a row per measure with a column per cut-off; a row per group at the cut-off ``shown``."""
    lines = [" " * 10 + "".join(f"{'@' + str(cutoff):>9}" for cutoff in cutoffs)]
    for measure in MEASURES:
        lines.append(f"{measure:<10}" + "".join(f"{_number(beyond['all'][f'{measure}@{k}'])}" for k in cutoffs))
    names = [*METRICS, *MEASURES]
    lines += ["", f"by train interactions, @{shown}", " " * 12 + f"{'users':>9}" + "".join(f"{n:>11}" for n in names)]
    for group in beyond["groups"]:
        fewest, most = group["train_interactions"]
        label = f"{fewest} to {most}" if fewest < most else str(fewest)
        cells = "".join(f"{_number(group[f'{name}@{shown}']):>11}" for name in names)
        lines.append(f"{label:<12}{group['users']:>9,}{cells}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:>9.4f}" if value < 100 else f"{value:>9.1f}"
