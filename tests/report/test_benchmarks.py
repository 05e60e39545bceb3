"""What is kept of the benchmarks is reported as tables, as a page and as a chart."""

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "bench" / "results"


def report(*arguments, results=None) -> str:
    results = sorted(RESULTS.glob("*.json")) if results is None else results
    done = subprocess.run(
        [sys.executable, "-m", "bench.report", *map(str, results), *map(str, arguments)],
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


def test_models_beside_the_published_code(tmp_path):
    """Our time over MMRec's, and what had to be repaired; without MMRec nothing is made up."""
    timing = {"median": 2.0, "low": 1.0, "high": 3.0, "rounds": 5}
    slower = {**timing, "median": 9.0}
    row = {"dataset": "baby", "data": "stand-in", "batch_size": 2048}
    beside = {
        **{kind: {"mde_fast": timing, "MMRec's DRAGON": slower} for kind in ("step_ms", "evaluation_ms")},
        "peak_bytes": {"mde_fast": 2**20, "MMRec's DRAGON": 3 * 2**20},
        "about": {"mde_fast": {}, "MMRec's DRAGON": {"repaired": ["result_embed"], "messages": "PyTorch Geometric"}},
    }
    alone = {
        **{kind: {"mde_fast": timing} for kind in ("step_ms", "evaluation_ms")},
        "peak_bytes": {"mde_fast": 2**20},
        "about": {"mde_fast": {}},
    }
    rows = [{"model": "dragon", **row, **beside}, {"model": "mde", **row, **alone}]
    machine = {"gpu": None, "cpu": "a CPU", "threads": 2, "torch": "2", "python": "3"}
    result = {"machine_info": {"mde_fast": machine}, "commit_info": {}, "datetime": "2026-01-01"}
    result["benchmarks"] = [{"name": "test_model_of_the_listing[x]", "extra_info": row} for row in rows]
    path = tmp_path / "models.json"
    path.write_text(json.dumps(result))
    text = report(results=[path])
    assert "| dragon | 2.00 (1.00-3.00) | DRAGON | 9.00 (1.00-3.00) | 4.5x | 1 | 3 |" in text
    assert "| mde | 2.00 (1.00-3.00) | not measured |" in text
    assert "(stand-in), batch 2,048" in text and "MMRec's DRAGON: result_embed" in text
    assert "stand-in for PyTorch Geometric" not in text and "by a stand-in" not in text
