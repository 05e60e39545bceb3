"""The picture of a search."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MARKERS = {  # state -> how its trials are drawn
    "complete": {"color": "tab:blue", "marker": "o"},
    "pruned": {"facecolor": "none", "edgecolor": "tab:grey", "marker": "o"},
    "failed": {"color": "tab:red", "marker": "x"},
}


def plot_search(report: dict[str, Any], path: Path) -> None:
    """Validation metric of the trials in the order in which they were begun, and each parameter's importance, as a PNG.

    Args:
        report: what trials.json holds.
    """
    metric = report["selected_on"]
    shares = report["importance"]
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.5, max(3.6, 1.2 + 0.22 * len(shares))), layout="constrained")
        history, importance = figure.subplots(1, 2)
        _plot_history(history, sorted(report["trials"], key=lambda row: row["trial"]))
        history.set(xlabel="trial", ylabel=metric)
        if shares:
            names = list(shares)[::-1]  # the largest on top
            bars = importance.barh(names, [shares[name] for name in names], color="tab:blue")
            importance.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
            importance.set(xlabel="importance (PED-ANOVA)")
            importance.margins(x=0.12)
        else:
            importance.set_axis_off()
            importance.text(0.5, 0.5, "too few complete trials\nfor importances", ha="center", va="center")
        figure.suptitle(f"search on {report['dataset']} ({report['data']})")
        figure.savefig(path, dpi=130, format="png")


def _plot_history(axes, rows: list[dict[str, Any]]) -> None:
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
        axes.legend(frameon=False, fontsize=8)
