"""An inspection on disk: JSON, Markdown, a page, a row per node, pictures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import Folder
from ..report.document import Code, Document, Picture, Section, Table
from ..report.honesty import cautions, is_stand_in, remark
from ..report.numbers import p_value
from ..report.write import write_document
from .nodes import RECALL, Inspection, Side
from .pictures import pictures
from .relations import disagreements, side_relations


def write_inspection(inspection: Inspection, output: Path, k: int) -> str:
    """Write everything into ``output``; returns the summary for the console.

    Raises:
        InputError: it cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be made ({error.strerror}); choose a writable --output") from None
    folder = Folder(output)
    relations = {side.name: side_relations(inspection, side) for side in (inspection.users, inspection.items)}
    document = {
        "run": inspection.run,
        "dataset": inspection.dataset,
        "data": inspection.data,
        "best_epoch": inspection.best_epoch,
        "modalities": inspection.modalities,
        "notes": inspection.notes,
        **relations,
        "disagreements": disagreements(inspection, k),
    }
    folder.write_json("inspect.json", document)
    for side in (inspection.users, inspection.items):
        folder.write(f"{side.name}.csv", lambda path: _write_nodes(inspection, side, path))
    drawn = pictures(inspection, relations)
    for name, draw in drawn.items():
        folder.write(name, draw)
    summary = summarise(document)
    write_document(folder, "inspect", as_document(document, summary, list(drawn)))
    return summary


def summarise(document: dict[str, Any]) -> str:
    """A few lines that say what the pictures show."""
    lines = [f"{document['dataset']} ({document['data']}), best epoch {document['best_epoch']}"]
    if is_stand_in(document["data"]):
        lines.append(remark(document["data"]))
    hidden = f"preference of {document['modalities'][0]}" if len(document["modalities"]) == 2 else None
    width = 2 + max(len(name) for name in document["users"]["distribution"])
    for side in ("users", "items"):
        about = document[side]
        lines.append(f"{about['nodes']:,} {side}: median (quartiles), rank correlation with degree")
        for name, spread in about["distribution"].items():
            if name == hidden:  # one minus the other
                continue
            correlation = _correlation(about["correlation_with_degree"][name])
            values = f"{spread['median']:.3f} ({spread['lower']:.3f} to {spread['upper']:.3f})"
            lines.append(f"  {name:<{width}}{values:<26}{correlation}")
    recall = document["users"][RECALL]
    lines.append(f"test {RECALL} {recall['mean']:.4f} over {recall['users']:,} users, rank correlation with")
    for name, value in recall["correlation"].items():
        if name != hidden:
            lines.append(f"  {name:<{width}}{_correlation(value)}")
    return "\n".join([*lines, *document["notes"]])


def _correlation(value: dict[str, float] | None) -> str:
    return "does not vary" if value is None else f"{value['spearman']:+.3f} (p {p_value(value['p'])})"


def as_document(document: dict[str, Any], summary: str, drawn: list[str]) -> Document:
    """The inspection for people.

    Args:
        document: what inspect.json holds.
        summary: for the console, too.
        drawn: file names of the pictures.
    """
    seen = tuple(Picture(name, name.removesuffix(".png")) for name in drawn)
    sections = tuple(
        Section(f"Items whose {pair.replace(' / ', ' and ')} disagree most", (_items_table(document, pair),))
        for pair in document["disagreements"]
    )
    return Document(f"Preferences of {document['run']}", (*cautions(document["data"]), Code(summary), *seen), sections)


def _items_table(document: dict[str, Any], pair: str) -> Table:
    """The items whose two modalities, named as ``image / text``, agree least."""
    modalities = document["modalities"]
    preferences = (f"preference of {name}" for name in modalities)
    lines = (
        (
            str(row["item"]),
            str(row["degree"]),
            f"{row['cosine']:.3f}",
            *(f"{row['preference'][name]:.3f}" for name in modalities),
        )
        for row in document["disagreements"][pair]
    )
    return Table(("item", "training interactions", f"cosine {pair}", *preferences), tuple(lines))


def _write_nodes(inspection: Inspection, side: Side, path: Path) -> None:
    """A row per node: id, degree, preferences, cosines and, for users, recall (empty without a test item)."""
    recall = [] if side.recall is None else [RECALL]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        preferences = [f"preference_{name}" for name in inspection.modalities]
        cosines = [f"cosine_{left}_{right}" for left, right in inspection.pairs]
        writer.writerow([side.name.removesuffix("s"), "degree", *preferences, *cosines, *recall])
        for row, (external, degree) in enumerate(zip(side.ids.tolist(), side.degree.tolist())):
            values = [*side.preference[row], *side.cosine[row]]
            if side.recall is not None:
                values.append(side.recall[row])
            writer.writerow([external, degree, *("" if np.isnan(value) else f"{value:.6f}" for value in values)])
