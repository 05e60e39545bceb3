"""Trains in child processes that are killed one after the other, until one is allowed to finish.

    python killed.py FLAG...

makes three runs. In ``before`` and ``after`` the i-th child dies at its i-th replacement of a file, just before or just
after it takes place; in ``times`` each child dies after a random time. Prints how many died of each run.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from mde_fast import runs, train

KILLS = 12


def main() -> None:
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much, once for all children
    runs.plot_curves = lambda history, path, **labels: path.write_bytes(b"")
    random.seed(5)
    for run in ("before", "after", "times"):
        killed = sum(status(start(run, attempt)) == -signal.SIGKILL for attempt in range(1, KILLS + 1))
        print(run, killed, status(start(run, attempt=None)), flush=True)


def start(run: str, attempt: int | None) -> int:
    """A child that trains and, unless ``attempt`` is None, is killed; its process id."""
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr
        if attempt is not None and run != "times":
            die_at_replacement(attempt, before=run == "before")
        begun = Path(run, "config.yaml").exists()
        os._exit(train.main(["--resume", run] if begun else [*sys.argv[1:], "--output", run]))
    if attempt is not None and run == "times":
        time.sleep(random.uniform(0, 0.3))
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
