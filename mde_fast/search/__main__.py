"""``python -m mde_fast.search``: find good options for a dataset, by validation alone."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..commands import chosen_model, collect_options, make_parser, parse, resolve, run_command
from ..errors import InputError

logger = logging.getLogger("mde_fast.search")

DESCRIPTION = """Search for good options: trials are proposed (TPE), trained, ended early when they fall behind (median
pruner), and ranked by the best epoch's validation metric. Test data are not looked at."""

EPILOG = """written into DIR:
  trials.html, .md, .json   the ranked trials as a page, as text and as data
  importance.png            the metric over trials, and what sets the best apart
  best.yaml                 the best trial's options, for train --config

examples:
  python -m mde_fast.search --dataset baby --trials 100
  python -m mde_fast.search --dataset baby --learning-rate 0.001 --epochs 60    # fixed for all trials, not searched
  python -m mde_fast.search --dataset data/my_shop --space my_space.yaml --jobs 4 --timeout 8h
  python -m mde_fast.train --config search/baby/best.yaml

The first trial has the options that a training would have without a search, so a search ends no worse than that.
The same command goes on with a search, also after Ctrl-C, kill -9 or --timeout, and may run several times at once, for
example once for each GPU (--device cuda:1).
"""

OWN_FLAGS = (*("output", "space", "print-space", "trials", "timeout", "jobs", "sampler-seed", "pruner", "worker"),)


def main(arguments: list[str]) -> int:
    model = chosen_model(arguments)
    parsed = _parse(arguments, model)
    if parsed.print_space:  # nothing else goes where the file goes
        logging.getLogger("mde_fast").setLevel(logging.WARNING)
    given = collect_options(parsed, (model,))
    preset, config = resolve(given, parsed.preset)
    if config.training.minutes is not None:
        raise InputError("minutes: a trial is trained to its end; --timeout says how long the search may take")
    if importlib.util.find_spec("optuna") is None:
        raise InputError("the search needs the package optuna; install it with: pip install 'mde_fast[search]'")
    from .report import log_result, write_report
    from .running import Search
    from .space import default_space, point_of, read_space, to_file

    if parsed.space is None:
        space = default_space(model, given.options, given.grids)
        left_out = [name for name in default_space(model, grids=given.grids) if name not in space]
    else:
        space, left_out = read_space(parsed.space, given.options, model)
    if parsed.print_space:
        print(to_file(space), end="")
        return 0
    deadline, parent = time.monotonic() + parsed.timeout, os.getppid()

    def time_is_up() -> bool:
        """Also for a worker whose command was killed: nobody could interrupt it any more."""
        return time.monotonic() > deadline or (parsed.worker and os.getppid() != parent)

    search = Search.open(
        config,
        space,
        parsed.output or Path("search") / Path(config.data.dataset).stem,
        seed=parsed.sampler_seed,
        prune=parsed.pruner == "median",
        quiet=parsed.worker,
    )
    if parsed.worker:
        with _sigterm_like_ctrl_c():
            return 0 if search.work(parsed.trials, time_is_up) else 130
    logger.info("%s", preset.describe(given.options))
    logger.info("searched: %s", ", ".join(space))
    if left_out:
        logger.info("not searched, as they are given: %s", ", ".join(left_out))
    outside = [f"{name} {config.values()[name]}" for name in space if name not in point_of(config, space)]
    if outside:
        logger.warning(
            "the space lacks %s, which a run has without a search: the search may end worse than that",
            ", ".join(outside),
        )
    try:
        with _sigterm_like_ctrl_c():
            if parsed.jobs > 1:
                done = search.work_in_processes(parsed.jobs, arguments, parsed.trials)
            else:
                done = search.work(parsed.trials, time_is_up)
    except KeyboardInterrupt:
        done = False
    finally:  # whatever happened, what there is can be read
        report = write_report(search, preset)
    log_result(search, report)
    if not done:
        logger.info("interrupted: everything is saved, the same command goes on")
    return 0 if done else 130


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Also while no trial is training; the trainer has handlers of its own."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parse(arguments: list[str], model: str) -> argparse.Namespace:
    parser = make_parser("search", DESCRIPTION, EPILOG)
    parser.usage = "%(prog)s [--dataset NAME] [--trials N] [--space FILE] [option ...]"
    parser.add_argument("--output", metavar="DIR", help="folder of the search (default: search/DATASET)")
    parser.add_argument(
        "--space",
        metavar="FILE",
        help="YAML file of what is searched: 'option: {low: X, high: Y, log: true}' or 'option: [value, value]' "
        "(default: what --print-space prints; a grid of MMRec's in --config is searched instead)",
    )
    parser.add_argument(
        "--print-space", action="store_true", help="print what would be searched as such a file, and end"
    )
    parser.add_argument(
        "--trials", metavar="N", type=_whole_number, default=50, help="in all, earlier ones included (default: 50)"
    )
    parser.add_argument(
        "--timeout", metavar="TIME", type=_seconds, default=math.inf, help="stop after so long, such as 90m or 8h"
    )
    parser.add_argument(
        "--jobs", metavar="N", type=_whole_number, default=1, help="processes that train side by side (default: 1)"
    )
    parser.add_argument(
        "--pruner",
        choices=("median", "none"),
        default="median",
        help="median ends a trial that is below the median of five or more others at the same epoch, from epoch "
        "stopping_step on (default: median)",
    )
    parser.add_argument("--sampler-seed", metavar="N", type=_seed, default=0, help="of the proposals (default: 0)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # one of the processes of --jobs
    return parse(parser, arguments, OWN_FLAGS, (model,))


def _whole_number(text: str) -> int:
    if not re.fullmatch("[0-9]*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``5m``, ``8h`` or ``2d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is not a time; write 90s, 5m, 8h or 2d")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


if __name__ == "__main__":
    run_command(main)
