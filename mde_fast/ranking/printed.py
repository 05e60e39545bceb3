"""Recommendations as a person or a program reads them from a terminal: of one run, or of several side by side."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

from .list_files import names_of_columns

FORMATS = ("text", "json", "csv")

List = list[tuple[Any, float]]  # (item, score), best first


def print_lists(kind: str, answers: Sequence[tuple[Any, List]], form: str) -> None:
    """One run's lists.

    Args:
        kind: ``user`` or ``item``, whose lists they are.
        answers: whose, and the list.
        form: one of ``FORMATS``.
    """
    if form == "json":
        _print_json([{kind: subject, "items": _entries(row)} for subject, row in answers])
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names_of_columns(kind))
        for subject, row in answers:
            writer.writerows([subject, *cells] for cells in _cells(row))
    else:
        for subject, row in answers:
            print(f"{kind} {subject}")
            for rank, (item, score) in enumerate(row, 1):
                print(f"{rank:>4}  {item}  {score:.4f}")


def print_side_by_side(
    kind: str, runs: Sequence[str], answers: Sequence[tuple[Any, Sequence[List]]], form: str
) -> None:
    """The lists of several runs.

    Args:
        kind: whose lists they are.
        runs: (R,) what the runs are called.
        answers: whose, and R lists.
        form: one of ``FORMATS``.
    """
    if form == "json":
        _print_json(
            [
                {kind: subject, "runs": [{"run": run, "items": _entries(row)} for run, row in zip(runs, rows)]}
                for subject, rows in answers
            ]
        )
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([kind, "run", *names_of_columns(kind)[1:]])
        for subject, rows in answers:
            for run, row in zip(runs, rows):
                writer.writerows([subject, run, *cells] for cells in _cells(row))
    else:
        for subject, rows in answers:
            _print_columns(f"{kind} {subject}", runs, rows)


def _print_columns(title: str, runs: Sequence[str], rows: Sequence[List]) -> None:
    columns = [[run, *(f"{item}  {score:.4f}" for item, score in row)] for run, row in zip(runs, rows)]
    widths = [max(map(len, column)) for column in columns]
    print(title)
    for rank in range(max(map(len, columns))):
        cells = (column[rank] if rank < len(column) else "" for column in columns)
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths))
        print(f"{rank or '':>4}  {line}".rstrip())
    common = set.intersection(*({item for item, _ in row} for row in rows))
    print(f"      {len(common)} of {max(map(len, rows))} items are in every list")


def _entries(row: List) -> list[dict[str, Any]]:
    return [{"item": item, "score": score} for item, score in row]


def _cells(row: List) -> list[list[Any]]:
    return [[rank, item, f"{score:.6f}"] for rank, (item, score) in enumerate(row, 1)]


def _print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2, ensure_ascii=False))
