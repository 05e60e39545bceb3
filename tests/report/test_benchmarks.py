"""What is kept of the benchmarks is reported as tables, as a page and as a chart."""

import subprocess
import sys
from base64 import b64encode
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "bench" / "results"


def report(*arguments) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench.report", *map(str, sorted(RESULTS.glob("*.json"))), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tables_that_are_kept_are_those_of_the_results():
    lines = report().splitlines()
    kept = (RESULTS / "cpu.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Benchmarks" and set(kept) <= set(lines)


def test_the_page_has_the_chart_in_it(tmp_path):
    page, chart, text = (tmp_path / name for name in ("cpu.html", "cpu.png", "cpu.md"))
    assert report("--markdown", text, "--html", page, "--chart", chart) == ""
    assert b64encode(chart.read_bytes()).decode() in page.read_text(encoding="utf-8")
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert len(lines) == page.read_text(encoding="utf-8").count("<tr>") + sum(line.startswith("|---") for line in lines)
