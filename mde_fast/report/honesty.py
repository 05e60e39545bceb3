"""What has to be said where data are not real: nowhere else are these sentences written."""

from __future__ import annotations

from typing import TypeGuard

from ..data.dataset import REAL
from .document import Caution


def is_stand_in(data: str | None) -> TypeGuard[str]:
    """Whether figures say nothing about real data; ``data`` is that of a dataset, None where nothing is known yet."""
    return data not in (None, REAL)


def headline(data: str | None, what: str = "figures") -> str:
    """The line that heads what is written about a dataset; empty where its data are real.

    Args:
        what: what is written, in the plural.
    """
    return f"{data.upper()}: these {what} say nothing about real data." if is_stand_in(data) else ""


def cautions(data: str | None, what: str = "figures") -> tuple[Caution, ...]:
    """The same for the head of a document: one block, or none."""
    return (Caution(headline(data, what)),) if is_stand_in(data) else ()


def remark(data: str | None) -> str:
    """The line beside figures on the console; empty where data are real."""
    return f"These figures say nothing about real data ({data})." if is_stand_in(data) else ""


def on_picture(data: str | None) -> str:
    """The line under a picture's title; empty where data are real."""
    return f"{data.upper()}: says nothing about real data" if is_stand_in(data) else ""
