"""Trains in child processes that are killed one after the other, until one is allowed to finish.

    python killed.py FLAG...

makes three runs, after one that shows how long a run takes. In ``before`` and ``after`` the i-th child dies at its
i-th replacement of a file, just before or just after it takes place; in ``times`` each child dies after a random time.
Prints how many died of each run, and how the last child ended.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from mde_fast import train
from mde_fast.runs import life as runs

KILLS = 8


def main() -> None:
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much, once for all children
    runs.plot_curves = lambda history, path, **labels: path.write_bytes(b"")
    random.seed(5)
    began = time.perf_counter()
    status(start("timed", attempt=None, after=0))
    whole = time.perf_counter() - began
    for run in ("before", "after", "times"):
        killed = 0
        for attempt in range(1, KILLS + 1):
            killed += status(start(run, attempt, after=random.uniform(0, 0.7 * whole))) == -signal.SIGKILL
        print(run, killed, status(start(run, attempt=None, after=0)), flush=True)


def start(run: str, attempt: int | None, after: float) -> int:
    """A child that trains and, unless ``attempt`` is None, is killed, ``after`` seconds later in ``times``."""
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr
        if attempt is not None and run != "times":
            die_at_replacement(attempt, before=run == "before")
        begun = Path(run, "config.yaml").exists()
        os._exit(train.main(["--resume", run] if begun else [*sys.argv[1:], "--output", run]))
    if attempt is not None and run == "times":
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return child


def status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at_replacement(number: int, *, before: bool) -> None:
    replace, seen = os.replace, []

    def fatal(source, target):
        seen.append(target)
        if len(seen) == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = fatal


if __name__ == "__main__":
    main()
