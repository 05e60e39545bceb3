"""Commands in several processes, as torchrun starts them on this machine, a thread each."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SECONDS = 120  # after which a test gives up on a command


def environment(**more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "MDE_FAST_DATA"},
        **{"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "MDE_FAST_PATIENCE": "60"},
        **more,
    }


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until a condition holds, which a process brings about."""
    patience = time.monotonic() + SECONDS
    while not condition() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    assert condition(), process.communicate(timeout=SECONDS)
