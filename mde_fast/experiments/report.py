"""What the experiments found as documents, and where all of it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..files import Folder
from ..report.document import Bullets, Caution, Document, Paragraph, Picture, Section, Table
from ..report.honesty import cautions
from ..report.numbers import p_value
from ..report.write import write_document
from .document import Findings, make_document
from .figure import plot_trade_off
from .measurements import METRICS
from .statistics import LEVEL

logger = logging.getLogger("mde_fast")

TESTED = ("recall@5", "recall@20")  # shown; the JSON file has the tests of all metrics
TITLES = {
    "recall@5": "Recall@5",
    "precision@5": "Precision@5",
    "map@5": "MAP@5",
    "ndcg@5": "NDCG@5",
    "recall@20": "Recall@20",
    "ndcg@20": "NDCG@20",
}


def write_reports(experiments: Iterable[str], findings: Findings, output: Path) -> list[dict[str, Any]]:
    """Write ``<experiment>.json``, ``.md`` and ``.html``, and Figure 2's picture, into ``output``.

    Returns:
        What the JSON files hold.
    """
    folder, found = Folder(output), []
    for experiment in experiments:
        results = make_document(experiment, findings)
        folder.write_json(f"{experiment}.json", results)
        if _has_picture(results):
            folder.write("figure2.png", lambda path: plot_trade_off(results, path))
        write_document(folder, experiment, as_document(results))
        found.append(results)
    return found


def as_document(results: Mapping[str, Any]) -> Document:
    """One experiment for people; ``results`` is what its JSON file holds."""
    sections = (
        Section("Means over seeds", (means_table(results),)),
        *_tests(results),
        *_sources(results),
        *_orders(results),
        Section("Runs", (_runs_table(results),)),
    )
    return Document(f"{results['title']}, {results['dataset']}", _head(results), sections)


def _has_picture(results: Mapping[str, Any]) -> bool:
    return results["experiment"] == "figure2" and any(row["mean"] for row in results["rows"])


def _head(results: Mapping[str, Any]) -> tuple[Caution | Bullets | Picture, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions_of_this_report"].items())
    about = (
        f"Data: {results['dataset']}, {results['data'] or 'nothing trained yet'}. Written {results['date']}.",
        f"Seeds: {', '.join(map(str, results['seeds']))}. Cells are means over seeds ± standard deviation.",
        f"Test metrics at the epoch of the best validation {results['selection']}; nothing was selected on test.",
        *results["settings"],
        f"Versions: {versions}; those of each run are in its metrics.json.",
    )
    unfinished = Caution("Not complete: see the runs below. The same command goes on.")
    picture = Picture("figure2.png", "Recall@5 by preference")
    return (
        *cautions(results["data"]),
        *(() if results["complete"] else (unfinished,)),
        Bullets(about),
        *((picture,) if _has_picture(results) else ()),
    )


def means_table(results: Mapping[str, Any]) -> Table:
    """A line for each row, what was published of it underneath, other published rows last."""
    published = list(results["published"])
    lines = []
    for row in results["rows"]:
        lines.append((row["label"], "here", *(_spread(row, metric) for metric in METRICS)))
        own = [entry for entry in published if entry["row"] == row["published_as"]]
        published = [entry for entry in published if entry not in own]
        lines += [_published(entry) for entry in own]
    lines += [_published(entry) for entry in published]
    return Table(("row", "from", *(TITLES[metric] for metric in METRICS)), tuple(lines))


def _spread(row: Mapping[str, Any], metric: str) -> str:
    if row["mean"].get(metric) is None:
        return "-"
    deviation = row["standard_deviation"][metric]
    return f"{row['mean'][metric]:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")


def _published(entry: Mapping[str, Any]) -> tuple[str, ...]:
    values = (f"{entry['metrics'][metric]:.4f}" if metric in entry["metrics"] else "" for metric in METRICS)
    return entry["row"], f"published ({_of_source(entry['source'])})", *values


def _tests(results: Mapping[str, Any]) -> tuple[Section, ...]:
    """The section of the tests against the reference; none where no row has one."""
    lines = []
    for row in results["rows"]:
        for metric in TESTED:
            test = row.get("against_reference", {}).get(metric)
            if test is not None:
                lines.append((row["label"], TITLES[metric], *_test_cells(test)))
    if not lines:
        return ()
    head = ("row", "metric", "difference", "in %", "t-test p", "Wilcoxon p", "with Holm", "users", "seeds below")
    note = (
        f"Row minus {results['reference']}, paired over users: each user's metric is averaged over the seeds that "
        "both have, then a two-sided paired t-test over all n users and a two-sided Wilcoxon signed-rank test over "
        "those that differ. The larger of the two p values after Holm's correction for the number of rows is under "
        f'"with Holm"; the last column answers yes or no when it is below {LEVEL} and both tests have the same '
        'direction, else "not shown". They say how far the difference holds over users for these trained models; the '
        "seeds say how far it holds over trainings."
    )
    table = Table((*head, results["question"]), tuple(lines))
    return (Section(f"Against {results['reference']}", (table, Paragraph(note))),)


def _test_cells(test: Mapping[str, Any]) -> list[str]:
    return [
        f"{test['difference']:+.4f}",
        "-" if test["percent"] is None else f"{test['percent']:+.1f}",
        *(_p_value(test[name]) for name in ("t_test_p", "wilcoxon_p")),
        _p_value(None if test["t_test_holm_p"] is None else max(test["t_test_holm_p"], test["wilcoxon_holm_p"])),
        f"{test['users']:,} ({test['users_that_differ']:,} differ)",
        f"{test['seeds_below']} of {len(test['seeds'])}",
        test["below"],
    ]


def _p_value(value: float | None) -> str:
    return "-" if value is None else p_value(value)


def _orders(results: Mapping[str, Any]) -> tuple[Section, ...]:
    """The section that sets the order of the rows here beside the published one; none where nothing compares."""
    orders = [order for order in results["order"] if order["metric"] in TESTED]
    if not orders:
        return ()
    lines, said = [], []
    for order in orders:
        title, source = TITLES[order["metric"]], _of_source(order["source"])
        places = {side: _places(order["rows"], side) for side in ("here", "published")}
        for label in sorted(order["rows"], key=places["published"].__getitem__):
            here, there = (order["rows"][label][side] for side in ("here", "published"))
            ranks = (str(places[side][label]) for side in ("published", "here"))
            percent = f"{100 * (here / there - 1):+.1f}" if there else "-"
            lines.append((title, source, label, *ranks, f"{there:.4f}", f"{here:.4f}", percent))
        said.append(
            f"{title} of {len(order['rows'])} rows, {source}: Kendall's tau {order['kendall_tau']:.2f}, "
            f"Spearman's rho {order['spearman_rho']:.2f}"
        )
    head = ("metric", "published by", "row", "place there", "place here", "there", "here", "in %")
    return (Section("The order of the rows", (Table(head, tuple(lines)), Bullets(tuple(said)))),)


def _places(rows: Mapping[str, Mapping[str, float]], side: str) -> dict[str, int]:
    """Label -> 1 for the best of a side."""
    ranked = sorted(rows, key=lambda label: -rows[label][side])
    return {label: place for place, label in enumerate(ranked, 1)}


def _of_source(source: str) -> str:
    return "MMRec" if "MMRec" in source else "paper"


def _sources(results: Mapping[str, Any]) -> tuple[Section, ...]:
    """The section about published figures; none where no paper has any."""
    if results["experiment"] in ("precision", "storage"):
        return ()
    blocks: tuple[Paragraph | Bullets, ...]
    if results["experiment"] == "figure2":
        said = "The paper draws Figure 2 without printing its numbers: there are none to compare with."
        blocks = (Paragraph(said),)
    elif not results["published"]:
        blocks = (Paragraph(f"No figures are known for {results['dataset']}."),)
    else:
        sources = dict.fromkeys(entry["source"] for entry in results["published"])
        said = (
            "Published figures were measured by their authors; the same files and the same draw of the split are not "
            "a given, so compare rows from here with each other first."
        )
        blocks = (Bullets(tuple(sources)), Paragraph(said))
    return (Section("Published", blocks),)


def _runs_table(results: Mapping[str, Any]) -> Table:
    tested = (TITLES[metric] for metric in TESTED)
    head = ("row", "seed", "best epoch", *tested, "s / epoch", "on", "options of the row")
    return Table(head, tuple(_run_line(row, run) for row in results["rows"] for run in row["runs"]))


def _run_line(row: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, ...]:
    if run["state"] == "finished":
        cells = [f"{run['best_epoch']} of {run['epochs_run']}"]
        cells += [f"{run['test'][metric]:.4f}" for metric in TESTED]
        cells += [f"{run['seconds_per_epoch']:.1f}", f"{run['device']}, {run['precision']}"]
    else:
        cells = [run["state"], *("" for _ in TESTED), "", ""]
    own = ", ".join(f"{name}: {value}" for name, value in row["options"].items())
    return row["label"], str(run["seed"]), *cells, own
