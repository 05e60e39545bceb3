"""The pictures of an inspection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..report.style import COLOURS, drawing
from .nodes import Inspection, Side

COUNTED_BINS = 60


def pictures(inspection: Inspection, relations: dict[str, Any]) -> dict[str, Callable[[Path], None]]:
    """File name -> what draws it, for an inspection and its ``relations`` (``users`` and ``items``)."""
    return {
        "preferences.png": lambda path: _histograms(inspection, path, "preference"),
        "cosine.png": lambda path: _histograms(inspection, path, "cosine"),
        "degree.png": lambda path: _by_degree(inspection, relations, path),
        "recall.png": lambda path: _recall(inspection, relations["users"], path),
    }


def _page(inspection: Inspection, what: str, path: Path, size: tuple[float, float]) -> AbstractContextManager[Figure]:
    """A figure whose title says what, and of which run."""
    title = f"{what}: {inspection.dataset} ({inspection.data}), epoch {inspection.best_epoch}"
    return drawing(path, size, title=title, data=inspection.data)


def _columns(inspection: Inspection, side: Side, kind: str) -> list[tuple[str, np.ndarray]]:
    """(label, values) of each histogram or line of a kind, ``preference`` or ``cosine``."""
    if kind == "preference":
        return [(name, side.preference[:, m]) for m, name in inspection.shown()]
    return [(pair, side.cosine[:, column]) for column, pair in enumerate(inspection.pair_names())]


def _axis_label(inspection: Inspection, kind: str) -> str:
    if kind == "preference":
        names = [name for _, name in inspection.shown()]
        return f"preference of {names[0]}" if len(names) == 1 else "preference"
    pairs = inspection.pair_names()
    return f"cosine {pairs[0]}" if len(pairs) == 1 else "cosine of two modalities"


def _histograms(inspection: Inspection, path: Path, kind: str) -> None:
    what = {"preference": "Preferences (eq. 5)", "cosine": "Agreement of modalities (H of eq. 4)"}[kind]
    with _page(inspection, what, path, (9, 3.4)) as figure:
        for axes, side in zip(figure.subplots(1, 2), (inspection.users, inspection.items)):
            columns = _columns(inspection, side, kind)
            edges = _edges(np.concatenate([values for _, values in columns]))
            for (label, values), colour in zip(columns, COLOURS):
                axes.hist(values, edges, color=colour, alpha=0.35)
                axes.hist(values, edges, color=colour, histtype="step", label=label)
                axes.axvline(np.median(values), color=colour, linestyle=":", linewidth=1.2)
            axes.set(xlabel=_axis_label(inspection, kind), ylabel=f"number of {side.name}")
            axes.set_title(f"{len(side.ids):,} {side.name} (dotted: median)")
            if len(columns) > 1:
                axes.legend()


def _edges(values: np.ndarray) -> np.ndarray:
    """Of the histograms' bins; values that are all the same get a little room."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05
    return np.linspace(low, high, COUNTED_BINS + 1)


def _by_degree(inspection: Inspection, relations: dict[str, Any], path: Path) -> None:
    with _page(inspection, "By degree (line: median, band: quartiles)", path, (11, 6.4)) as figure:
        grid = figure.subplots(2, 2, sharey="row")
        for row, kind in zip(grid, ("preference", "cosine")):
            for axes, side in zip(row, (inspection.users, inspection.items)):
                _medians_by_degree(axes, relations[side.name]["by_degree"], _relation_names(inspection, kind))
                axes.set_xlabel(f"training interactions (bins double, from), {side.name} in the bin")
                if side is inspection.users:
                    axes.set_ylabel(_axis_label(inspection, kind))


def _medians_by_degree(axes: Axes, by_degree: dict[str, Any], names: list[tuple[str, str]]) -> None:
    """A line and a band for each of the (label, key in the relations)."""
    for (label, name), colour in zip(names, COLOURS):
        bins = by_degree[name]
        places = range(len(bins))
        axes.plot(places, [bin["median"] for bin in bins], color=colour, marker="o", ms=3, label=label)
        lower, upper = ([bin[end] for bin in bins] for end in ("lower", "upper"))
        axes.fill_between(places, lower, upper, color=colour, alpha=0.15, linewidth=0)
        _name_bins(axes, bins)  # the same for all of them
    if len(names) > 1:
        axes.legend()


def _relation_names(inspection: Inspection, kind: str) -> list[tuple[str, str]]:
    """(label, key in the relations) of a kind."""
    if kind == "preference":
        return [(name, f"preference of {name}") for _, name in inspection.shown()]
    return [(pair, f"cosine {pair}") for pair in inspection.pair_names()]


def _name_bins(axes: Axes, bins: list[dict[str, Any]]) -> None:
    """Ticks with the lower end of each bin of degrees, and how many nodes it has."""
    ticks = [f"{bin['bin'].partition('-')[0]}\n{bin['nodes']:,}" for bin in bins]
    axes.set_xticks(range(len(bins)), ticks, fontsize=8)


def _recall(inspection: Inspection, relations: dict[str, Any], path: Path) -> None:
    recall = relations["recall@20"]
    with _page(inspection, "Test recall@20 of users (mean ± standard error)", path, (13, 3.8)) as figure:
        by_preference, by_cosine, by_degree = figure.subplots(1, 3, sharey=True)
        for axes, kind in ((by_preference, "preference"), (by_cosine, "cosine")):
            names = _relation_names(inspection, kind)
            for (label, name), colour in zip(names, COLOURS):
                bins = recall["by"][name]
                _points(axes, [bin["at"] for bin in bins], bins, colour, label)
            axes.set_xlabel(f"{_axis_label(inspection, kind)} (bins of as many users)")
            if len(names) > 1:
                axes.legend()
        bins = recall["by_degree"]
        _points(by_degree, range(len(bins)), bins, "black", None)
        _name_bins(by_degree, bins)
        by_degree.set_xlabel("training interactions (bins double, from), users in the bin")
        for axes in (by_preference, by_cosine, by_degree):
            axes.axhline(recall["mean"], color="grey", linestyle=":", linewidth=1)
        by_preference.set_ylabel("recall@20 (dotted: mean)")
        by_preference.set_ylim(bottom=0)


def _points(axes: Axes, places, bins: list[dict[str, Any]], colour: str, label: str | None) -> None:
    means = [bin["recall"] for bin in bins]
    errors = [bin["standard_error"] or 0 for bin in bins]
    axes.errorbar(places, means, errors, color=colour, marker="o", ms=3, linewidth=1, capsize=2, label=label)
