"""Processes that torchrun starts on this machine, a thread each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SECONDS = 120  # after which a test gives up on a command


def environment(**more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "MDE_FAST_DATA"},
        **{"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "MDE_FAST_PATIENCE": "60"},
        **more,
    }


@pytest.fixture
def torchrun(tmp_path, monkeypatch):
    """torchrun(P, "-m", "mde_fast.train", ...) -> the process, in an empty folder; ended with the test."""
    monkeypatch.chdir(tmp_path)
    started = []

    def torchrun(processes: int, *arguments, restarts: int = 0) -> subprocess.Popen:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        process = subprocess.Popen(
            [*command, f"--max-restarts={restarts}", *map(str, arguments)],
            env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield torchrun
    for process in started:
        if process.poll() is None:
            process.terminate()  # which ends those that it has started
            process.wait(60)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until a condition holds, which a process brings about."""
    patience = time.monotonic() + SECONDS
    while not condition() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    assert condition(), process.communicate(timeout=SECONDS)
