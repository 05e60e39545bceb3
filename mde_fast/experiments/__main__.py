"""``python -m mde_fast.experiments``: the paper's tables and Figure 2, trained, tested and reported."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from .. import __version__
from ..commands import add_options, add_preset, collect_options, make_parser, normalise_flags, run_command
from ..errors import InputError
from ..files.lock import exclusive
from ..report.markdown import block_to_markdown
from ..runs.assemble import make_dataset, make_device
from ..runs.config import OPTIONS, convert, default_of, make_config
from ..runs.presets import Preset, find_preset
from .document import Findings
from .measurements import measure
from .plan import plan_runs
from .report import means_table, write_reports
from .rows import EXPERIMENTS, REFUSED
from .running import Training, train

logger = logging.getLogger("mde_fast")

SEEDS = "999,1000,1001"
OWN_FLAGS = ("seeds", "jobs", "output", "config", "preset", "report-only", "help")
EPILOG = """experiments:
  table1      LightGCN, a DRAGON-like setting and MDE (the paper's Table I, the rows that can be trained here)
  table2      MDE without MDA, without MSA, without NLT, and whole (Table II)
  figure2     variant A with preferences 0.1 to 0.9, variant B and MDE (Figure 2)
  precision   bf16 towers against float32

Every training option is a flag and holds for all rows; a row's own options win over it. Runs that several experiments
need are trained once. The same command goes on where it stopped: finished runs are skipped, begun ones resumed.

written into DIR:
  EXPERIMENT.html, .md, .json   the report as a page, as text and as data
  figure2.png                   the picture of figure2, which its page has in it
  runs/                         a run folder for each row and seed

examples:
  python -m mde_fast.experiments table2 --dataset baby
  python -m mde_fast.experiments table1 table2 figure2 --dataset baby --config best.yaml --precision bf16 --jobs 4
  python -m mde_fast.experiments table2 --dataset baby --seeds 999 --epochs 3 --output experiments/quick
  python -m mde_fast.experiments table2 --dataset baby --report-only
"""


def main(arguments: list[str]) -> int:
    parser = make_parser("experiments", "Train what the paper compares, over several seeds, and report it.", EPILOG)
    parser.usage = "%(prog)s EXPERIMENT [EXPERIMENT ...] [--dataset NAME] [--jobs N] [option ...]"
    _add_flags(parser)
    add_options(parser)
    parsed = parser.parse_args(normalise_flags(arguments, own=OWN_FLAGS))
    experiments = list(dict.fromkeys(parsed.experiments))
    seeds = _seeds(parsed.seeds)
    if parsed.jobs < 1:
        raise InputError(f"--jobs: {parsed.jobs} must be 1 or more")
    given = _options(parsed, experiments)
    preset = find_preset(given.get("dataset", default_of("dataset")), parsed.preset)
    options = {**preset.options, **given}
    config = make_config(options)
    make_device(config)
    dataset = make_dataset(config, with_features=False)  # what is wrong with it shows before anything is written
    output = Path(parsed.output or Path("experiments") / Path(config.dataset).stem)
    if parsed.report_only and not output.is_dir():
        raise InputError(f"{output}: no such folder; leave --report-only out to train, or give its --output")
    runs, training = plan_runs(experiments, options, seeds, output), Training()
    if not parsed.report_only:
        _make(output)
        with exclusive(output, "wait for its end, use --report-only or another --output") as lock:
            training = train(runs, parsed.jobs, lock)
    findings = Findings(runs, measure(runs, dataset), training.failures, options, _settings(parsed, given, preset))
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
    parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags win over it")
    add_preset(parser)
    parser.add_argument("--report-only", action="store_true", help="train nothing, report what is there")


def _seeds(text: str) -> list[int]:
    seeds = [convert("seed", part, "--seeds") for part in text.split(",") if part.strip()]
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds: {text or 'nothing'} needs one or more different whole numbers, e.g. {SEEDS}")
    return seeds


def _options(parsed: argparse.Namespace, experiments: list[str]) -> dict[str, Any]:
    """Options for all rows, without those that only rows and experiments set."""
    refused = dict(REFUSED)
    for experiment in experiments:
        for name in EXPERIMENTS[experiment].varies:
            refused[name] = f"{experiment} is about this option and sets it; leave it out"
    options = collect_options(parsed, parsed.config)
    for name, reason in refused.items():
        if hasattr(parsed, name):
            raise InputError(f"--{name}: {reason}")
        if name in options:
            logger.info("%s: %s is passed over: %s", parsed.config, name, reason)
            del options[name]
    return options


def _settings(parsed: argparse.Namespace, given: dict[str, Any], preset: Preset) -> list[str]:
    """Where the options come from, for the reports."""
    flags = {name: value for name, value in given.items() if hasattr(parsed, name)}
    lines = [f"{preset.describe(given).capitalize()}.{_head_comment(preset.path) if preset.path else ''}"]
    if parsed.config:
        from_file = {name: value for name, value in given.items() if name not in flags}
        lines.append(f"Settings from {parsed.config}: {_listed(from_file)}.{_head_comment(parsed.config)}")
    lines += [
        f"Settings given as flags: {_listed(flags)}. All others: the defaults of mde_fast {__version__}.",
        "All rows have these settings beside their own; but for LightGCN, which has a preset, none was tuned for a row "
        "by itself, nor by this command.",
    ]
    return lines


def _listed(options: dict[str, Any]) -> str:
    shown = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in options.items()}
    return ", ".join(f"{name} {shown[name]}" for name in OPTIONS if name in shown) or "none"


def _head_comment(path: str | Path) -> str:
    """What a file of options says of itself in the comment at its head."""
    lines = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    said = " ".join(line for line in lines if line)
    return f' It says: "{said}"' if said else ""


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
