"""Trains in child processes that are killed one after the other, until one is allowed to finish.

    python killed.py RUN HOW FLAG...

HOW is ``writes-before`` or ``writes-after``: the i-th child dies at its i-th replacement of a file, just before or just
after it takes place; or ``times``: each child dies after a random time. Prints how many were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from mde_fast import runs, train

KILLS = 14


def main() -> None:
    run, how, *flags = sys.argv[1:]
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much, once for all children
    runs.plot_curves = lambda history, path, **labels: path.write_bytes(b"")
    sys.stdout.flush()
    random.seed(5)
    killed = 0
    for attempt in range(1, KILLS + 1):
        child = start(run, flags, how, attempt)
        if how == "times":
            time.sleep(random.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    status = os.waitstatus_to_exitcode(os.waitpid(start(run, flags, "to the end", 0), 0)[1])
    print(killed)
    sys.exit(status)


def start(run: str, flags: list[str], how: str, attempt: int) -> int:
    """A child that trains; its process id."""
    child = os.fork()
    if child == 0:
        if how.startswith("writes"):
            die_at_replacement(attempt, before=how == "writes-before")
        begun = Path(run, "config.yaml").exists()
        os._exit(train.main(["--resume", run] if begun else [*flags, "--output", run]))
    return child


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
