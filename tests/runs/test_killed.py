"""``kill -9`` at any moment: what is on disk goes on to the result of a run that nobody disturbed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import FLAGS, assert_same_result, files

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


def test_many_times(shop, finished):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed.py"), *FLAGS, "--cache-dir=none"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    runs = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in runs] == ["before", "after", "times"]
    for run, killed, status in runs:
        assert int(killed) >= 2 and status == "0", done.stderr
        assert_same_result(Path(run), finished)
        assert files(Path(run)) == files(finished)
