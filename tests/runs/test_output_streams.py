"""Results go to stdout and nothing else does, whatever stdout is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def recommend(run: Path, stdout) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mde_fast.recommend", run, "--all-users", "--k", "30", "--format", "csv"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_and_a_reader_who_leaves(finished):
    with open("/dev/full", "w") as full:
        on_full_disk, read_partly = recommend(finished, full), recommend(finished, subprocess.PIPE)
    assert read_partly.stdout.readline() == b"user,rank,item,score\n"
    read_partly.stdout.close()
    assert read_partly.stderr.read() == b"" and read_partly.wait() in (0, 1)
    _, err = on_full_disk.communicate()
    assert on_full_disk.returncode == 1
    assert err == b"error: cannot write the output ([Errno 28] No space left on device)\n"


def test_stdout_has_results_only(finished, command):
    """Whoever writes them to a file gets a file of that format."""
    assert command("recommend", finished, "--user", 1, "--k", 1, "--format", "csv").out.count("\n") == 2
    assert command("evaluate", finished, "--data-dir", finished.parent / "data", "--json").out.startswith("{\n")
