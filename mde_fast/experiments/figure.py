"""Figure 2 of the paper, drawn from our own runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from ..report.style import drawing
from .rows import FIXED, REFERENCE

METRIC, TITLE = "recall@5", "Recall@5"
LINES = (  # row, label, colour, style
    ("free", "variant B: a free weight at every node", "tab:blue", ":"),
    (REFERENCE, "MDE: weights from the learned preferences", "tab:red", "-"),
)


def plot_trade_off(document: Mapping[str, Any], path: Path) -> None:
    """Variant A as bars over its fixed preference, variant B and MDE as lines; means and deviations over seeds.

    Rows without a finished run are left out.
    """
    rows = {row["name"]: row for row in document["rows"] if row["mean"]}
    modalities = document["modalities"]
    fixed = "text" if "text" in modalities else modalities[-1]
    title = f"{document['dataset']} ({document['data']}), {_seeds(rows)}"
    with drawing(path, (7.2, 4.2), title=title, data=document["data"]) as figure:
        axes = figure.subplots()
        _draw_bars(axes, {FIXED[name]: row for name, row in rows.items() if name in FIXED})
        _draw_lines(axes, rows)
        low, high = _limits(rows)
        axes.set(xlim=(0.03, 0.97), ylim=(low, high))
        axes.xaxis.set_major_locator(MultipleLocator(0.1))
        axes.set_xlabel(f"preference of {fixed} in variant A")
        axes.set_ylabel(f"test {TITLE}" + (f"  (axis starts at {low:.4f})" if low else ""))
        figure.legend(loc="outside lower center", ncols=1)


def _draw_bars(axes: Axes, bars: Mapping[float, Mapping[str, Any]]) -> None:
    """Fixed preference -> row of variant A."""
    if not bars:
        return
    axes.bar(
        list(bars),
        [row["mean"][METRIC] for row in bars.values()],
        width=0.07,
        yerr=[_deviation(row) for row in bars.values()],
        capsize=2,
        color="#c6d3df",
        edgecolor="#5b7289",
        linewidth=0.8,
        error_kw={"linewidth": 0.8, "ecolor": "#5b7289"},
        label="variant A: the same preference at every node",
    )


def _draw_lines(axes: Axes, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """The rows that do not depend on a fixed preference, each with a band of one deviation."""
    for name, label, colour, style in LINES:
        if name in rows:
            mean, deviation = rows[name]["mean"][METRIC], _deviation(rows[name])
            axes.axhline(mean, color=colour, linestyle=style, linewidth=1.6, label=label)
            axes.axhspan(mean - deviation, mean + deviation, color=colour, alpha=0.1, linewidth=0, zorder=0)


def _seeds(rows: Mapping[str, Mapping[str, Any]]) -> str:
    seeds = len({run["seed"] for row in rows.values() for run in row["runs"] if run["state"] == "finished"})
    return f"mean ± standard deviation of {seeds} seeds" if seeds > 1 else "one seed"


def _deviation(row: Mapping[str, Any]) -> float:
    return row["standard_deviation"][METRIC] or 0.0


def _limits(rows: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Of the value axis: from 0 when differences are large, else from somewhat below the smallest value."""
    lowest = min(row["mean"][METRIC] - _deviation(row) for row in rows.values())
    highest = max(row["mean"][METRIC] + _deviation(row) for row in rows.values())
    margin = 0.25 * (highest - lowest) or 0.05 * highest or 1.0
    start = lowest - 2 * margin
    return (start if start > 0.3 * highest else 0.0), highest + margin
