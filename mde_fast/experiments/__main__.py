"""``python -m mde_fast.experiments``: the paper's tables and Figure 2, trained, tested and reported."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..commands import Given, collect_options, make_parser, parse, run_command
from ..data.options import DataOptions
from ..errors import InputError
from ..files import exclusive
from ..options import convert, shown
from ..report.markdown import block_to_markdown
from ..runs.assemble import make_dataset, make_device
from ..runs.config import resolve_key
from ..runs.presets import head_comment
from ..training.options import TrainingOptions
from .document import Findings
from .measurements import measure
from .plan import plan_runs
from .report import means_table, write_reports
from .rows import EXPERIMENTS, REFERENCE, ROWS, SHARED, Layers, flag_of, refused_options, row_config, row_models
from .running import Training, train

logger = logging.getLogger("mde_fast")

SEEDS = "999,1000,1001"
OWN_FLAGS = ("seeds", "jobs", "output", "report-only", "searches")
EPILOG = """experiments:
  table1      the systems of the paper's Table I, LightGCN, and MDE in a DRAGON-like setting
  table2      MDE without MDA, without MSA, without NLT, and whole (Table II)
  figure2     variant A with preferences 0.1 to 0.9, variant B and MDE (Figure 2)
  precision   bf16 towers against float32
  storage     tables, what passes over graphs, and Adam's moments in bf16 against float32

Every option is a flag and holds for all rows whose model has it; --ROW.OPTION holds for one row alone, such as
--lightgcn.learning-rate 0.001. What makes a row that row cannot be set. Runs that several experiments need are trained
once. The same command goes on where it stopped: finished runs are skipped, begun ones resumed.

written into DIR:
  EXPERIMENT.html, .md, .json   the report as a page, as text and as data
  figure2.png                   the picture of figure2, which its page has in it
  runs/                         a run folder for each row and seed

examples:
  python -m mde_fast.experiments table2 --dataset baby
  python -m mde_fast.experiments table1 table2 figure2 --dataset baby --config best.yaml --precision bf16 --jobs 4
  python -m mde_fast.experiments table2 --dataset baby --seeds 999 --epochs 3 --output experiments/quick
  python -m mde_fast.experiments table2 --dataset baby --report-only
  for model in vbpr mmgcn grcn dualgnn slmrec bm3 freedom dragon lightgcn mde; do
      python -m mde_fast.search --model $model --dataset tiktok --trials 8 --output search/tiktok/$model
  done
  python -m mde_fast.experiments table1 --dataset tiktok --searches search/tiktok
"""


def main(arguments: list[str]) -> int:
    arguments, of_row_texts = _split_row_flags(arguments)
    named = [argument for argument in arguments if argument in EXPERIMENTS]
    models = row_models(named or EXPERIMENTS)
    parser = make_parser("experiments", "Train what the paper compares, over several seeds, and report it.", EPILOG)
    parser.usage = "%(prog)s EXPERIMENT [EXPERIMENT ...] [--dataset NAME] [--jobs N] [option ...]"
    _add_flags(parser)
    parsed = parse(parser, arguments, OWN_FLAGS, models)
    experiments = list(dict.fromkeys(parsed.experiments))
    seeds = _seeds(parsed.seeds)
    if parsed.jobs < 1:
        raise InputError(f"--jobs: {parsed.jobs} must be 1 or more")
    refused = refused_options(experiments)
    given = _given(parsed, refused, row_models(experiments))
    of_row = _of_row(of_row_texts, experiments, refused)
    dataset_name = given.options.get("dataset", DataOptions.schema()["dataset"].default)
    searches = _searches(parsed.searches, row_models(experiments))
    layers = Layers(dataset_name, parsed.preset, given.options, of_row, frozenset(refused), searches)
    config = row_config(layers, REFERENCE, seeds[0])
    make_device(config.training)
    dataset = make_dataset(config, with_features=False)  # what is wrong with it shows before anything is written
    output = Path(parsed.output or Path("experiments") / Path(config.data.dataset).stem)
    if parsed.report_only and not output.is_dir():
        raise InputError(f"{output}: no such folder; leave --report-only out to train, or give its --output")
    runs, training = plan_runs(experiments, layers, seeds, output), Training()
    if not parsed.report_only:
        _make(output)
        with exclusive(output, "wait for its end, use --report-only or another --output") as lock:
            training = train(runs, parsed.jobs, lock)
    settings = _settings(parsed.config, given, layers, row_models(experiments))
    findings = Findings(runs, measure(runs, dataset), training.failures, settings)
    documents = write_reports(experiments, findings, output)
    for document in documents:
        logger.info("\n%s\n\n%s", document["title"], block_to_markdown(means_table(document)))
    files = (f"{name}.{ending}" for name in experiments for ending in ("html", "md", "json"))
    logger.info("\nreports in %s: %s", output, ", ".join(files))
    return _close(documents, training)


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose a writable --output") from None


def _add_flags(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(EXPERIMENTS)
    parser.add_argument("experiments", nargs="+", choices=tuple(EXPERIMENTS), metavar="EXPERIMENT", help=names)
    parser.add_argument("--seeds", default=SEEDS, metavar="N,N,...", help=f"train each row so often (default: {SEEDS})")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="runs side by side, each a process with its share of the CPU threads; a GPU is shared (default: 1)",
    )
    parser.add_argument("--output", metavar="DIR", help="reports, and runs in DIR/runs (default: experiments/DATASET)")
    parser.add_argument(
        "--searches",
        metavar="DIR",
        help="rows have the best options of a search of their model, DIR/MODEL/best.yaml, instead of its preset",
    )
    parser.add_argument("--report-only", action="store_true", help="train nothing, report what is there")


def _searches(folder: str | None, models: tuple[str, ...]) -> Path | None:
    """Where the best options of searches are.

    Raises:
        InputError: no model of the rows has any there.
    """
    if folder is None:
        return None
    if not any((Path(folder) / model / "best.yaml").is_file() for model in models):
        raise InputError(
            f"--searches: {folder} has no MODEL/best.yaml of {', '.join(models)}; make them with python -m "
            f"mde_fast.search --model MODEL --output {folder}/MODEL"
        )
    return Path(folder)


def _seeds(text: str) -> list[int]:
    seeds = [convert(TrainingOptions.schema()["seed"], part, "--seeds") for part in text.split(",") if part.strip()]
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds: {text or 'nothing'} needs one or more different whole numbers, e.g. {SEEDS}")
    return seeds


def _split_row_flags(arguments: list[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The other arguments, and (row, option, value) of those for one row (``--lightgcn.learning-rate 0.001``)."""
    rest, of_row, waiting = [], [], list(arguments)
    while waiting:
        flag, equals, value = waiting.pop(0).partition("=")
        row, dot, name = flag.removeprefix("--").rpartition(".")  # rows have dots, options have none
        if not (flag.startswith("--") and dot):
            rest.append(flag + equals + value)
            continue
        if row not in ROWS:
            raise InputError(f"{flag}: there is no row {row}; choose from {', '.join(ROWS)}")
        if not equals:
            if not waiting:
                raise InputError(f"{flag}: needs a value")
            value = waiting.pop(0)
        of_row.append((row, name, value))
    return rest, of_row


def _of_row(
    flags: list[tuple[str, str, str]], experiments: list[str], refused: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Row -> options given for it alone.

    Raises:
        InputError: a row that is not trained, an option that its model does not have, one that makes it that row, or
            one that all rows must share to be compared.
    """
    trained = {row for name in experiments for row in EXPERIMENTS[name].rows}
    options: dict[str, dict[str, Any]] = {}
    for row, name, value in flags:
        if row not in trained:
            raise InputError(f"--{row}.{name}: no row of {', '.join(experiments)}; choose {', '.join(sorted(trained))}")
        entry = resolve_key(name, (ROWS[row].model,), f"--{row}.{name}")
        if entry.name in ROWS[row].options:
            raise InputError(f"--{row}.{name}: is what makes it that row; leave it out")
        if entry.name in refused:
            raise InputError(f"--{row}.{name}: {refused[entry.name]}")
        if entry.owner in SHARED:
            flag = flag_of(entry, row)
            raise InputError(f"--{row}.{name}: all rows are compared on the same data by the same metric; give {flag}")
        options.setdefault(row, {})[entry.name] = convert(entry, value, f"--{row}.{name}")
    return options


def _given(parsed: argparse.Namespace, refused: Mapping[str, str], models: tuple[str, ...]) -> Given:
    """Options for all rows, without those that only rows and experiments set."""
    given = collect_options(parsed, models)
    for name, reason in refused.items():
        if name in given.flags:
            raise InputError(f"--{name}: {reason}")
        if given.file.pop(name, None) is not None:
            logger.info("%s: %s is passed over: %s", ", ".join(parsed.config), name, reason)
    return given


def _settings(files: list[str], given: Given, layers: Layers, models: tuple[str, ...]) -> list[str]:
    """Where the options come from, for the reports."""
    lines = []
    for model in models:
        preset = layers.preset_of(model)
        lines.append(f"{preset.describe(given.options).capitalize()}.{_said(preset.found)}")
    if files:
        from_file = {name: value for name, value in given.file.items() if name not in given.flags}
        said = " ".join(_said(head_comment(file)) for file in files)
        lines.append(f"Settings from {', '.join(files)}: {_listed(from_file)}.{said}")
    own = "; ".join(f"{row}: {_listed(options)}" for row, options in layers.of_row.items())
    lines += [
        f"Settings given as flags: {_listed(given.flags)}. All others: the defaults of mde_fast {__version__}.",
        *([f"Given for one row alone: {own}."] if own else []),
        "A row has the preset of its model, or the best options of its search, these settings, and what makes it that "
        "row; none was tuned for a row by this command.",
    ]
    return lines


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in options.items()) or "none"


def _said(found: str) -> str:
    return f' It says: "{found}"' if found else ""


def _close(documents: list[dict[str, Any]], training: Training) -> int:
    if training.interrupted:
        logger.info("interrupted: everything is saved, the same command goes on")
        return 130
    for name, failure in training.failures.items():
        logger.error("error: %s failed: %s", name, failure)
    if training.failures:
        return 1
    if not all(document["complete"] for document in documents):
        logger.info("not everything is trained yet: the same command without --report-only goes on")
    return 0


if __name__ == "__main__":
    run_command(main)
