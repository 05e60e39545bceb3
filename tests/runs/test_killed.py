"""``kill -9`` at any moment: what is on disk goes on to the result of a run that nobody disturbed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import FLAGS, assert_same_result, files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@pytest.mark.parametrize("how, at_least", [("writes-before", 14), ("writes-after", 14), ("times", 5)])
def test_many_times(shop, finished, how, at_least):
    program = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, program, "run", how, *FLAGS, "--cache-dir=graphs"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= at_least
    assert_same_result(Path("run"), finished)
    assert files(Path("run")) == files(finished)
