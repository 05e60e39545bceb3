"""The picture of a search."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..report.style import drawing

MARKERS: dict[str, dict[str, Any]] = {  # state -> how its trials are drawn
    "complete": {"color": "tab:blue", "marker": "o"},
    "pruned": {"facecolor": "none", "edgecolor": "tab:grey", "marker": "o"},
    "failed": {"color": "tab:red", "marker": "x"},
}


def plot_search(report: dict[str, Any], path: Path) -> None:
    """Validation metric of the trials in the order in which they were begun, and each parameter's importance, as a PNG.

    Args:
        report: what trials.json holds.
    """
    shares = report["importance"]
    title = f"search on {report['dataset']} ({report['data']})"
    size = 9.5, max(3.6, 1.2 + 0.22 * len(shares))
    with drawing(path, size, title=title, data=report["data"]) as figure:
        history, importance = figure.subplots(1, 2)
        _plot_history(history, sorted(report["trials"], key=lambda row: row["trial"]))
        history.set(xlabel="trial", ylabel=report["selected_on"])
        _plot_importance(importance, shares)


def _plot_history(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for state, style in MARKERS.items():
        points = [row for row in rows if row["state"] == state and row["value"] is not None]
        if points:
            axes.scatter(
                [row["trial"] for row in points], [row["value"] for row in points], s=18, label=state, zorder=2, **style
            )
    complete = [row for row in rows if row["state"] == "complete"]
    best = list(accumulate((row["value"] for row in complete), max))
    axes.step([row["trial"] for row in complete], best, where="post", color="black", linewidth=1, label="best so far")
    start = next((row for row in complete if row["is_preset"]), None)
    if start is not None:
        axes.axhline(start["value"], color="grey", linestyle=":", linewidth=1, label="preset")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _plot_importance(axes: Axes, shares: dict[str, float]) -> None:
    """Bars of option -> share; a line of text instead where there are none."""
    if not shares:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "too few complete trials\nfor importances", ha="center", va="center")
        return
    names = list(shares)[::-1]  # the largest on top
    bars = axes.barh(names, [shares[name] for name in names], color="tab:blue")
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set(xlabel="importance (PED-ANOVA)")
    axes.margins(x=0.12)
