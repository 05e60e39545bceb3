"""What a search leaves to read: a ranked table, the best options, a picture."""

from __future__ import annotations

import logging
import platform
import time
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from .. import __version__
from ..files import Folder
from ..options import plain, to_yaml
from ..report.document import Bullets, Document, Paragraph, Picture, Section, Table
from ..report.honesty import cautions, headline, is_stand_in
from ..report.write import write_document
from ..runs.config import with_options
from ..runs.presets import Preset
from .figure import plot_search
from .running import Search, show
from .space import to_options

logger = logging.getLogger("mde_fast.search")

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
# Below this many complete trials an importance is noise.
TRIALS_FOR_IMPORTANCE = 8


def write_report(search: Search, preset: Preset) -> dict[str, Any]:
    """Write trials.json, .md and .html, importance.png and, once a trial is complete, best.yaml.

    Args:
        preset: whose values the first trial has.

    Returns:
        What trials.json holds.
    """
    study, config = search.study, search.config
    study.collect_abandoned()
    report = {
        "dataset": search.study.settings["dataset"]["name"],
        "data": search.study.settings["dataset"]["data"],
        "selected_on": f"validation {config.evaluation.metric}",
        "preset": preset.name,
        "space": study.settings["space"],
        "fixed": study.settings["value of a fixed option"],
        "device": str(search.device),
        "versions": versions(),
        "importance": importance(study.study),
        "trials": ranked(study.trials()),
    }
    files = Folder(study.folder)
    files.write_json("trials.json", report)
    files.write("importance.png", lambda path: plot_search(report, path))
    write_document(files, "trials", as_document(report))
    best = study.best()
    if best is not None:
        files.write_text("best.yaml", best_options(search, best, report))
    return report


def versions() -> dict[str, str]:
    return {
        "mde_fast": __version__,
        "torch": torch.__version__,
        "optuna": optuna.__version__,
        "python": platform.python_version(),
    }


def ranked(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """A row per trial: complete ones best first, then the others by state, likewise."""
    rows = []
    for trial in trials:
        record = trial.user_attrs.get("record", {})
        rows.append(
            {
                "trial": trial.number,
                "state": STATES[trial.state],
                "is_preset": trial.user_attrs.get("preset", False),
                **{name: record.get(name) for name in ("value", "best_epoch", "epochs", "seconds")},
                "reason": trial.user_attrs.get("reason"),
                "parameters": dict(trial.params),
            }
        )
    order = list(STATES.values())
    rows.sort(key=lambda row: (order.index(row["state"]), -(row["value"] or 0), row["trial"]))
    return [{"rank": place if row["state"] == "complete" else None, **row} for place, row in enumerate(rows, 1)]


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what sets the best trials apart, by PED-ANOVA; empty while trials are few.

    Source: Watanabe et al., PED-ANOVA, IJCAI 2023, as in Optuna.
    """
    complete = sum(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
    if complete < TRIALS_FOR_IMPORTANCE:
        return {}
    # The best tenth, but never fewer than five trials: fewer tell nothing.
    share = max(0.1, 5 / complete)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def counts(report: dict[str, Any]) -> str:
    """``12 trials: 9 complete, 2 pruned, 1 failed``."""
    states = [row["state"] for row in report["trials"]]
    parts = [f"{states.count(state)} {state}" for state in STATES.values() if state in states]
    return f"{len(states)} trial{'s' if len(states) != 1 else ''}: {', '.join(parts)}"


def as_document(report: dict[str, Any]) -> Document:
    """The report for people; ``report`` is what trials.json holds."""
    lead = (
        *cautions(report["data"], "values"),
        Paragraph(
            f"{counts(report)}. Ranked by {report['selected_on']} at the best epoch; test data were not looked at.\n"
            f"The first trial is the preset {report['preset']} (marked *), as far as the space contains it."
        ),
        Picture("importance.png", "the metric over trials, and importances"),
    )
    failed = tuple(f"Trial {row['trial']} failed: {row['reason']}" for row in report["trials"] if row["reason"])
    trials = (_trials_table(report), *((Bullets(failed),) if failed else ()))
    options = (_options_table(report), _settings(report))
    title = f"Search on {report['dataset']} ({report['data']})"
    return Document(title, lead, (Section("Trials", trials), Section("Options", options)))


def _trials_table(report: dict[str, Any]) -> Table:
    names = list(report["space"])
    metric = report["selected_on"].split()[1]
    head = ("rank", "trial", "state", metric, "best epoch", "epochs", "seconds", *names)
    return Table(head, tuple(_trial_line(row, names) for row in report["trials"]))


def _trial_line(row: dict[str, Any], names: list[str]) -> tuple[str, ...]:
    return (
        str(row["rank"] or ""),
        f"{row['trial']}{' *' if row['is_preset'] else ''}",
        row["state"],
        "" if row["value"] is None else f"{row['value']:.4f}",
        str(row["best_epoch"] or ""),
        str(row["epochs"] or ""),
        "" if row["seconds"] is None else f"{row['seconds']:.0f}",
        *(show(row["parameters"].get(name, "")) for name in names),
    )


def _options_table(report: dict[str, Any]) -> Table:
    shares = {name: f"{share:.2f}" for name, share in report["importance"].items()}
    searched = tuple((name, str(values), shares.get(name, "")) for name, values in report["space"].items())
    return Table(("option", "searched values", "importance"), searched)


def _settings(report: dict[str, Any]) -> Paragraph:
    lines = (
        "Importance: share in what sets the best trials apart (PED-ANOVA)"
        + ("." if report["importance"] else f"; needs {TRIALS_FOR_IMPORTANCE} complete trials."),
        "Fixed: " + ", ".join(f"{name} {value}" for name, value in report["fixed"].items()) + ".",
        f"{_when_and_where(report)}.",
    )
    return Paragraph("\n".join(lines))


def _when_and_where(report: dict[str, Any]) -> str:
    versions = (f"{name} {version}" for name, version in report["versions"].items())
    return ", ".join([time.strftime("%Y-%m-%d"), report["device"], *versions])


def best_options(search: Search, best: FrozenTrial, report: dict[str, Any]) -> str:
    """The best trial's options as YAML, for ``train --config``; comments say how they were found.

    Those that have their defaults, too: a preset may set what is left out.
    """
    record = best.user_attrs["record"]
    found = with_options(search.config, **to_options(best.params, search.config.model))
    start = next((row for row in report["trials"] if row["is_preset"] and row["state"] == "complete"), None)
    of_this_machine = ("device", "cache_dir", "minutes")
    values = {name: plain(value) for name, value in found.values().items() if name not in of_this_machine}
    comments = [
        f"Options found for {report['dataset']} ({report['data']} data) by python -m mde_fast.search.",
        *([headline(report["data"], "values")] if is_stand_in(report["data"]) else []),
        f"Best of {counts(report)}.",
        f"{report['selected_on']} {best.value:.4f} at epoch {record['best_epoch']} of {record['epochs']} "
        f"(trial {best.number}, seed {found.training.seed}); test data were not looked at.",
        *([f"Preset {report['preset']} reached {start['value']:.4f} (trial {start['trial']})."] if start else []),
        _when_and_where(report),
        f"Train with: python -m mde_fast.train --config {search.study.folder / 'best.yaml'}",
    ]
    return "".join(f"# {line}\n" for line in comments) + to_yaml(values)


def log_result(search: Search, report: dict[str, Any]) -> None:
    """Say what was found, and where it lies."""
    if is_stand_in(report["data"]):
        logger.info("%s", headline(report["data"], "values"))
    logger.info("%s", counts(report))
    best = search.study.best()
    if best is None:
        logger.info("no trial is complete yet; the same command goes on")
        return
    folder = search.study.folder
    logger.info("best: trial %d, %s %.4f", best.number, report["selected_on"], best.value)
    for name, value in best.params.items():
        logger.info("  %s: %s", name, show(value))
    logger.info("page in %s/trials.html", folder)
    logger.info("table in %s/trials.md; train with --config %s/best.yaml", folder, folder)
