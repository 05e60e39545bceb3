"""Commands in processes of their own, as a shell would start them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable


def start(module: str, *arguments) -> subprocess.Popen:
    """``python -m mde_fast.<module> <arguments>``; what it prints is for ``communicate``."""
    return subprocess.Popen(
        [sys.executable, "-m", f"mde_fast.{module}", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's job in the background ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until a condition holds, which a process brings about."""
    patience = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    assert condition(), process.communicate()
