"""Processes that torchrun starts on this machine, a thread each."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from launched import environment


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
