"""The picture of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.dataset import REAL
from .style import drawing


def plot_curves(history: list[dict[str, Any]], path: Path, *, title: str, metric: str, data: str = REAL) -> None:
    """Loss and validation metric over epochs, as a PNG whatever the path ends in.

    Args:
        history: the rows of metrics.jsonl.
        metric: the metric that selects the best epoch, such as ``recall@20``.
        data: of the dataset, whether it is real.
    """
    epochs = [row["epoch"] for row in history]
    values = [row["valid"][metric] for row in history]
    best = max((row["epoch"] for row in history if row["best"]), default=None)
    with drawing(path, (9, 3.6), title=title, data=data) as figure:
        loss_axes, metric_axes = figure.subplots(1, 2)
        loss_axes.plot(epochs, [row["loss"] for row in history], color="black", label="total")
        for name in history[0]["loss_parts"]:
            series = [row["loss_parts"][name] for row in history]
            if any(series):
                loss_axes.plot(epochs, series, linewidth=1, label=name)
        loss_axes.set(xlabel="epoch", ylabel="training loss")
        loss_axes.legend()
        metric_axes.plot(epochs, values, color="tab:blue", marker="." if len(epochs) < 60 else None)
        metric_axes.set(xlabel="epoch", ylabel=f"validation {metric}")
        if best is not None:
            metric_axes.axvline(best, color="grey", linestyle=":", linewidth=1)
            label = f"best: epoch {best}, {values[epochs.index(best)]:.4f}"
            metric_axes.text(0.97, 0.04, label, transform=metric_axes.transAxes, ha="right")
