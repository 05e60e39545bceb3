"""Tables and figures in reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def p_value(value: float) -> str:
    """Two digits; what is too small for a float is still no zero."""
    return f"{value:.2g}" if value > 0 else "<1e-300"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table: a head, and lines of as many cells."""
    top, *rest = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, *lines])
    return "\n".join([top, "|" + "---|" * len(head), *rest])
