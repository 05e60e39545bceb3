"""Failures to open or read a file, turned into one line for the person who named it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, an OSError (no such file, no permission, ...) or csv.Error becomes an InputError that names ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def shown(cell: object) -> str:
    """A cell as a message quotes it: one line, not long."""
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."


def listed(names: list[str], most: int = 20) -> str:
    """Names as a message lists them."""
    more = [f"... ({len(names)} in all)"] if len(names) > most else []
    return ", ".join([*map(str, names[:most]), *more])
