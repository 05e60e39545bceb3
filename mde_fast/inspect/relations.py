"""How preference, agreement, degree and recall go together: bins, quartiles, rank correlations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from .nodes import RECALL, Inspection, Side

EQUAL_BINS = 10


@dataclass(frozen=True)
class Bin:
    """``label`` of a bin, and the nodes in it: (n,) bool."""

    label: str
    nodes: np.ndarray


def degree_bins(degree: np.ndarray) -> list[Bin]:
    """Bins that double, 0, 1, 2-3, 4-7, ..., as degrees have a long tail; those without a node are left out."""
    bins = [Bin("0", degree == 0)]
    low = 1
    while low <= degree.max(initial=0):
        high = 2 * low - 1
        bins.append(Bin(str(low) if low == high else f"{low}-{high}", (degree >= low) & (degree <= high)))
        low = high + 1
    return [bin for bin in bins if bin.nodes.any()]


def equal_bins(values: np.ndarray, among: np.ndarray) -> list[Bin]:
    """Up to ten bins of about as many nodes each, of the nodes ``among`` (n,) bool; equal values share a bin."""
    if not among.any():
        return []
    edges = np.unique(np.quantile(values[among], np.linspace(0, 1, EQUAL_BINS + 1)))
    place = np.searchsorted(edges[1:-1], values, side="right")
    members = [among & (place == number) for number in np.unique(place[among])]
    return [Bin(f"{values[nodes].min():.3g} to {values[nodes].max():.3g}", nodes) for nodes in members]


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Of (n,) values, with mean, minimum and maximum."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    spread = {"minimum": values.min(), "lower": low, "median": median, "upper": high, "maximum": values.max()}
    return {name: float(value) for name, value in {"mean": values.mean(), **spread}.items()}


def quartiles_by(bins: list[Bin], values: np.ndarray) -> list[dict[str, Any]]:
    """The quartiles of ``values`` (n,) in each bin."""
    return [{"bin": bin.label, "nodes": int(bin.nodes.sum()), **quartiles(values[bin.nodes])} for bin in bins]


def recall_by(bins: list[Bin], recall: np.ndarray, values: np.ndarray) -> list[dict[str, Any]]:
    """Mean recall in each bin with its standard error, and the median of the ``values`` (n,) that were binned."""
    rows = []
    for bin in bins:
        own = recall[bin.nodes]
        error = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else None
        centre = float(np.median(values[bin.nodes]))
        rows.append(
            {"bin": bin.label, "nodes": len(own), "at": centre, "recall": float(own.mean()), "standard_error": error}
        )
    return rows


def rank_correlation(left: np.ndarray, right: np.ndarray) -> dict[str, float] | None:
    """Spearman's, with its two-sided p; None where one side does not vary."""
    if len(left) < 3 or left.min() == left.max() or right.min() == right.max():
        return None
    result = scipy.stats.spearmanr(left, right)
    return {"spearman": float(result.statistic), "p": float(result.pvalue), "nodes": len(left)}


def side_relations(inspection: Inspection, side: Side) -> dict[str, Any]:
    """Everything about the users or the items that the pictures show, as numbers."""
    columns = {f"preference of {name}": side.preference[:, m] for m, name in enumerate(inspection.modalities)}
    columns |= {f"cosine {pair}": side.cosine[:, column] for column, pair in enumerate(inspection.pair_names())}
    bins = degree_bins(side.degree)
    relations = {
        "nodes": len(side.ids),
        "distribution": {name: quartiles(values) for name, values in columns.items()},
        "by_degree": {name: quartiles_by(bins, values) for name, values in columns.items()},
        "correlation_with_degree": {name: rank_correlation(values, side.degree) for name, values in columns.items()},
    }
    if side.recall is None:
        return relations
    tested = ~np.isnan(side.recall)
    of_tested = degree_bins(np.where(tested, side.degree, -1))
    relations[RECALL] = {
        "users": int(tested.sum()),
        "mean": float(side.recall[tested].mean()),
        "by_degree": recall_by(of_tested, side.recall, side.degree),
        "by": {name: recall_by(equal_bins(values, tested), side.recall, values) for name, values in columns.items()},
        "correlation": {
            name: rank_correlation(values[tested], side.recall[tested])
            for name, values in {**columns, "degree": side.degree}.items()
        },
    }
    return relations


def disagreements(inspection: Inspection, k: int) -> dict[str, list[dict[str, Any]]]:
    """For each pair of modalities the k items with the lowest cosine, lowest first."""
    items = inspection.items
    ids, found = items.ids.tolist(), {}
    for column, pair in enumerate(inspection.pair_names()):
        lowest = np.argsort(items.cosine[:, column], kind="stable")[:k]
        found[pair] = [
            {
                "item": ids[row],
                "degree": int(items.degree[row]),
                "cosine": float(items.cosine[row, column]),
                "preference": {name: float(items.preference[row, m]) for m, name in enumerate(inspection.modalities)},
            }
            for row in lowest
        ]
    return found
