"""What an experiment found, as one document: what its JSON file holds and its tables and picture show."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
import yaml

from .. import __version__
from ..data.dataset import REAL
from ..runs.run import RunFolder
from .measurements import METRICS
from .plan import PlannedRun
from .published import published_rows
from .rows import EXPERIMENTS, REFERENCE, ROWS
from .statistics import agreement, paired_test, spread, with_holm


@dataclass(frozen=True)
class Findings:
    """Everything that reports are made of.

    Attributes:
        runs: the plan.
        measured: run name -> metric -> (n,) of the test users, of finished runs.
        failures: run name -> why it failed just now.
        settings: lines that say where the options come from.
    """

    runs: Sequence[PlannedRun]
    measured: Mapping[str, Mapping[str, np.ndarray]]
    failures: Mapping[str, str]
    settings: Sequence[str]


def make_document(experiment: str, findings: Findings) -> dict[str, Any]:
    """Means, deviations, tests and runs of one experiment, with all that is needed to judge and to repeat them."""
    about = EXPERIMENTS[experiment]
    runs = [run for run in findings.runs if run.row in about.rows]
    dataset = Path(runs[0].config.data.dataset).stem
    catalogue = _catalogue(runs)
    rows = [_row(name, [run for run in runs if run.row == name], findings) for name in about.rows]
    per_user = {name: _per_user([run for run in runs if run.row == name], findings) for name in about.rows}
    tests = _tests(per_user)
    for row in rows:
        if row["name"] != REFERENCE:
            row["against_reference"] = tests[row["name"]]
    published = published_rows(experiment, dataset.lower())
    return {
        "experiment": experiment,
        "title": about.title,
        "question": about.question,
        "dataset": dataset,
        "data": catalogue["data"] if catalogue else None,
        "modalities": list(catalogue["features"]) if catalogue else [],
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "seeds": list(dict.fromkeys(run.seed for run in runs)),
        "selection": runs[0].config.evaluation.valid_metric,
        "settings": list(findings.settings),
        "options": yaml.safe_load(next(run for run in runs if run.row == REFERENCE).config.to_yaml()),
        "versions_of_this_report": {
            "mde_fast": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
        "reference": ROWS[REFERENCE].label,
        "rows": rows,
        "published": published,
        "order": _order(rows, published),
        "complete": all(run["state"] == "finished" for row in rows for run in row["runs"]),
    }


def _row(name: str, runs: Sequence[PlannedRun], findings: Findings) -> dict[str, Any]:
    described = [_run(run, findings) for run in runs]
    finished = [run["test"] for run in described if run["state"] == "finished"]
    spreads = {metric: spread([test[metric] for test in finished]) for metric in METRICS} if finished else {}
    return {
        "name": name,
        "label": ROWS[name].label,
        "options": dict(ROWS[name].options),
        "published_as": ROWS[name].published,
        "mean": {metric: value.mean for metric, value in spreads.items()},
        "standard_deviation": {metric: value.deviation for metric, value in spreads.items()},
        "runs": described,
    }


def _run(run: PlannedRun, findings: Findings) -> dict[str, Any]:
    description = {"seed": run.seed, "folder": run.path.as_posix()}
    result = run.result()
    if result is None:
        return description | {"state": _unfinished(run, findings.failures.get(run.name))}
    kept = ("best_epoch", "epochs_run", "seconds_per_epoch", "device", "precision", "versions")
    test = {metric: float(values.mean()) for metric, values in findings.measured[run.name].items()}
    return description | {"state": "finished", "test": test} | {name: result[name] for name in kept}


def _unfinished(run: PlannedRun, failure: str | None) -> str:
    if failure is not None:
        return f"failed: {failure}"
    return f"not finished: {run.epochs_done()} epochs are done" if run.begun else "not begun"


def _per_user(runs: Sequence[PlannedRun], findings: Findings) -> dict[int, Mapping[str, np.ndarray]]:
    return {run.seed: findings.measured[run.name] for run in runs if run.name in findings.measured}


def _tests(per_user: Mapping[str, Mapping[int, Mapping]]) -> dict[str, dict[str, dict[str, Any]]]:
    """row -> metric -> the paired test against the reference, with its verdict, where the two have a seed in common."""
    tests: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in per_user if name != REFERENCE}
    for metric in METRICS:
        values = {name: {seed: side[seed][metric] for seed in side} for name, side in per_user.items()}
        found = {name: paired_test(values[name], values[REFERENCE]) for name in tests}
        for name, test in with_holm({name: test for name, test in found.items() if test is not None}).items():
            tests[name][metric] = asdict(test) | {"below": test.below}
    return tests


def _order(rows: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each source and metric, the rows that are here and there, and how far the two orders agree."""
    orders = []
    for source in dict.fromkeys(entry["source"] for entry in published):
        figures = {entry["row"]: entry["metrics"] for entry in published if entry["source"] == source}
        for metric in METRICS:
            both = {
                row["label"]: (row["mean"][metric], figures[row["published_as"]][metric])
                for row in rows
                if metric in row["mean"] and metric in figures.get(row["published_as"], {})
            }
            found = agreement([here for here, _ in both.values()], [there for _, there in both.values()])
            if found is not None:
                figures_of_both = {label: {"here": here, "published": there} for label, (here, there) in both.items()}
                orders.append({"source": source, "metric": metric, "rows": figures_of_both, **asdict(found)})
    return orders


def _catalogue(runs: Sequence[PlannedRun]) -> dict[str, Any] | None:
    """What the runs know of their data: whether all of it is real, and its modalities.

    A model without features calls data real whose features are not, so the run that knows most speaks for all.
    """
    known = [RunFolder.open(run.path).load_json("catalogue.json") for run in runs if run.begun]
    return max(known, key=lambda one: (one["data"] != REAL, len(one["features"])), default=None)
