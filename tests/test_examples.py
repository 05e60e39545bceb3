"""The examples run from a shell and print what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "lightgcn_pytorch.py"


def _run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, EXAMPLE, *arguments], capture_output=True, text=True, timeout=120)


def _results(output: str) -> dict[str, tuple[float, float]]:
    """``before`` and ``after``: seconds an epoch and Recall."""
    found = re.findall(r"^ *(before|after): ([\d.]+) s an epoch .* Recall@20 ([\d.]+) on", output, re.MULTILINE)
    return {name: (float(seconds), float(recall)) for name, seconds, recall in found}


def test_lightgcn_on_generated_interactions():
    done = _run("--users", "300", "--epochs", "3", "--width", "16", "--batch-size", "256")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The interactions are generated") and "(stand-in)" in done.stdout
    results = _results(done.stdout)
    assert results.keys() == {"before", "after"}
    # A random list of 20 out of 150 items has a Recall of 0.13.
    assert all(recall > 0.3 for _, recall in results.values())
    assert abs(results["before"][1] - results["after"][1]) < 0.08, "other negatives, the same model"
    assert re.search(r"^faster: [\d.]+x an epoch$", done.stdout, re.MULTILINE)
    assert re.search(r"graph: sparse_coo 450 x 450, [\d,]+ edges, symmetric; [1-9]\d* products", done.stdout)


def test_lightgcn_on_a_folder(tmp_path):
    for name, shift in (("train", 0), ("test", 3)):
        lines = (f"{user} {' '.join(str((user + shift + n) % 12) for n in range(3))}" for user in range(12))
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    done = _run(str(tmp_path), "--epochs", "1", "--width", "4")
    assert done.returncode == 0, done.stderr
    assert "generated" not in done.stdout and "(real)" in done.stdout
    assert _results(done.stdout).keys() == {"before", "after"}


def test_a_folder_that_is_not_there(tmp_path):
    done = _run(str(tmp_path / "nothing"))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
