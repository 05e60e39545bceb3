"""The documents of the experiments as Markdown, and where all of it is written."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..report.markdown import p_value, table
from ..runs.run import RunFolder
from .document import Findings, is_stand_in, make_document
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
    """Write ``<experiment>.json`` and ``.md``, and Figure 2's picture, into ``output``; returns the documents."""
    folder, documents = RunFolder(output), []
    for experiment in experiments:
        document = make_document(experiment, findings)
        folder.write_json(f"{experiment}.json", document)
        folder.write_text(f"{experiment}.md", to_markdown(document))
        if experiment == "figure2" and any(row["mean"] for row in document["rows"]):
            folder.write("figure2.png", lambda path: plot_trade_off(document, path))
        documents.append(document)
    return documents


def to_markdown(document: Mapping[str, Any]) -> str:
    """One experiment for people."""
    sections = [_head(document), means_table(document), _tests_section(document), _sources(document), _runs(document)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(document: Mapping[str, Any]) -> str:
    lines = [f"# {document['title']}, {document['dataset']}", ""]
    if is_stand_in(document):
        lines += [f"**{document['data'].upper()}: these figures say nothing about real data.**", ""]
    if not document["complete"]:
        lines += ["**Not complete: see the runs below. The same command goes on.**", ""]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions_of_this_report"].items())
    lines += [
        f"- Data: {document['dataset']}, {document['data'] or 'nothing trained yet'}. Written {document['date']}.",
        f"- Seeds: {', '.join(map(str, document['seeds']))}. Cells are means over seeds ± standard deviation.",
        f"- Test metrics at the epoch of the best validation {document['selection']}; nothing was selected on test.",
        *(f"- {line}" for line in document["settings"]),
        f"- Versions: {versions}; those of each run are in its metrics.json.",
    ]
    if document["experiment"] == "figure2" and any(row["mean"] for row in document["rows"]):
        lines += ["", "![Recall@5 by preference](figure2.png)"]
    return "\n".join(lines)


def means_table(document: Mapping[str, Any]) -> str:
    """A line for each row, what was published of it underneath, other published rows last."""
    published = list(document["published"])
    lines = []
    for row in document["rows"]:
        lines.append([row["label"], "here", *(_spread(row, metric) for metric in METRICS)])
        own = [entry for entry in published if entry["row"] == row["published_as"]]
        published = [entry for entry in published if entry not in own]
        lines += [_published(entry) for entry in own]
    lines += [_published(entry) for entry in published]
    return "## Means over seeds\n\n" + table(["row", "from", *(TITLES[metric] for metric in METRICS)], lines)


def _spread(row: Mapping[str, Any], metric: str) -> str:
    if row["mean"].get(metric) is None:
        return "-"
    deviation = row["standard_deviation"][metric]
    return f"{row['mean'][metric]:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")


def _published(entry: Mapping[str, Any]) -> list[str]:
    values = (f"{entry['metrics'][metric]:.4f}" if metric in entry["metrics"] else "" for metric in METRICS)
    return [entry["row"], f"published ({'MMRec' if 'MMRec' in entry['source'] else 'paper'})", *values]


def _tests_section(document: Mapping[str, Any]) -> str:
    lines = []
    for row in document["rows"]:
        for metric in TESTED:
            test = row.get("against_reference", {}).get(metric)
            if test is not None:
                lines.append([row["label"], TITLES[metric], *_test_cells(test)])
    if not lines:
        return ""
    head = ["row", "metric", "difference", "in %", "t-test p", "Wilcoxon p", "users", "seeds below"]
    head.append(document["question"])
    note = (
        f"Row minus {document['reference']}, paired over users: each user's metric is averaged over the seeds that "
        "both have, then a two-sided paired t-test over all n users and a two-sided Wilcoxon signed-rank test over "
        f"those that differ. The last column answers yes or no when both tests have p < {LEVEL} and the same "
        'direction, else "not shown". p values are not corrected for the number of rows. They say how far the '
        "difference holds over users for these trained models; the seeds say how far it holds over trainings."
    )
    return f"## Against {document['reference']}\n\n{table(head, lines)}\n\n{note}"


def _test_cells(test: Mapping[str, Any]) -> list[str]:
    return [
        f"{test['difference']:+.4f}",
        "-" if test["percent"] is None else f"{test['percent']:+.1f}",
        *("-" if test[name] is None else p_value(test[name]) for name in ("t_test_p", "wilcoxon_p")),
        f"{test['users']:,} ({test['users_that_differ']:,} differ)",
        f"{test['seeds_below']} of {len(test['seeds'])}",
        test["below"],
    ]


def _sources(document: Mapping[str, Any]) -> str:
    if document["experiment"] == "figure2":
        return "## Published\n\nThe paper draws Figure 2 without printing its numbers: there are none to compare with."
    if document["experiment"] == "precision":
        return ""
    if not document["published"]:
        return f"## Published\n\nNo figures are known for {document['dataset']}."
    sources = dict.fromkeys(entry["source"] for entry in document["published"])
    caution = (
        "Published figures were measured by their authors; the same files and the same draw of the split are not a "
        "given, so compare rows from here with each other first."
    )
    return "\n".join(["## Published", "", *(f"- {source}" for source in sources), "", caution])


def _runs(document: Mapping[str, Any]) -> str:
    lines = []
    for row in document["rows"]:
        own = ", ".join(f"{name}: {value}" for name, value in row["options"].items())
        for run in row["runs"]:
            cells = [row["label"], str(run["seed"])]
            if run["state"] == "finished":
                cells += [f"{run['best_epoch']} of {run['epochs_run']}"]
                cells += [f"{run['test'][metric]:.4f}" for metric in TESTED]
                cells += [f"{run['seconds_per_epoch']:.1f}", f"{run['device']}, {run['precision']}", own]
            else:
                cells += [run["state"], "", "", "", "", own]
            lines.append(cells)
    tested = (TITLES[metric] for metric in TESTED)
    head = ["row", "seed", "best epoch", *tested, "s / epoch", "on", "options of the row"]
    return "## Runs\n\n" + table(head, lines)
