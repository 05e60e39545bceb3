"""One style of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from ..data.dataset import REAL
from .honesty import on_picture

STYLE: dict[Any, Any] = {  # settings of matplotlib
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 8,
    "legend.frameon": False,
}
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")  # of series, in this order
DOTS_PER_INCH = 130


@contextmanager
def drawing(path: Path, size: tuple[float, float], *, title: str = "", data: str | None = REAL) -> Iterator[Figure]:
    """An empty figure, written to ``path`` once it is drawn, as a PNG whatever the path ends in.

    Args:
        size: width and height in inches.
        title: above it all.
        data: of the dataset that it shows; where that is not real, the figure says so under its title.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.suptitle("\n".join(line for line in (title, on_picture(data)) if line))
        figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
