"""The ten minutes of a GPU: the plan fits, a stage that is cut off is no failure, and a second call goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import on_gpu, stage_runner
from bench.stage_runner import CUT_OFF, FAILED, NOT_RUN, PASSED, Runner, fingerprint, total
from bench.stages import Stage, plan

ROOT = Path(__file__).parent.parent.parent
MEASURED, REHEARSED = (plan(rehearsed=rehearsed, data=Path("somewhere")) for rehearsed in (False, True))


def stage(name: str, code: str, seconds: float = 60, **more) -> Stage:
    return Stage(name, seconds, (sys.executable, "-c", code, *more.pop("arguments", ())), **more)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_runner, "GRACE", 0.5)
    return Runner(tmp_path, "these sources", lambda line: None)


def test_the_plan_fits_into_ten_minutes():
    assert total(MEASURED) <= on_gpu.SECONDS and on_gpu.SECONDS + on_gpu.REPORT_SECONDS <= 600


def test_the_rehearsal_has_every_stage():
    """Under the same names, in the same groups, with the same files of benchmarks."""

    def outline(groups):
        return [
            [(each.name, [part for part in each.command if part.startswith("bench/")]) for each in group]
            for group in groups
        ]

    assert outline(REHEARSED) == outline(MEASURED)
    names = [each.name for group in MEASURED for each in group]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("each", [each for group in (*MEASURED, *REHEARSED) for each in group], ids=lambda e: e.name)
def test_what_a_stage_runs_is_there(each):
    for part in each.command:
        if part.startswith(("bench/", "tests/")):
            assert (ROOT / part).exists(), part
    if any(part.startswith("bench/") for part in each.command):
        assert each.has_results and str(Path("somewhere")) in each.command


def test_nothing_is_timed_beside_something_else():
    assert all(len(group) == 1 for group in MEASURED if group[0].has_results)


def test_verdicts(runner, tmp_path):
    stages = (
        stage("good", "print('all is well')"),
        stage("bad", "raise SystemExit('it is not')"),
        stage("missing", "", missing="no such tool"),
        Stage("with results", 60, (sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write('{}')", "{json}")),
        stage("in its environment", "import os; print(os.environ['SAID'])", environment=(("SAID", "so"),)),
    )
    runner.run([(each,) for each in stages], 60)
    outcomes = {name: (each.verdict, each.note) for name, each in runner.outcomes.items()}
    assert outcomes["good"] == (PASSED, "all is well")
    assert outcomes["bad"] == (FAILED, "it is not")
    assert outcomes["missing"] == (NOT_RUN, "no such tool")
    assert outcomes["in its environment"] == (PASSED, "so")
    assert runner.results(stages[3]).read_text() == "{}"
    assert "all is well" in runner.log(stages[0]).read_text()


def test_a_stage_that_is_cut_off_keeps_what_it_had(runner):
    """It is interrupted as Ctrl-C does, and its own processes with it; what does not listen is killed."""
    polite = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('kept')"
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    started = time.monotonic()
    runner.run([(stage("polite", polite, 1), stage("deaf", deaf, 1))], 60)
    assert runner.outcomes["polite"].verdict == runner.outcomes["deaf"].verdict == CUT_OFF
    assert runner.outcomes["polite"].note == "kept"
    assert time.monotonic() - started < 30


def test_no_stage_is_begun_when_the_time_is_up(runner):
    runner.run([(stage("late", "print(1)"),)], 3)
    assert runner.outcomes["late"].verdict == NOT_RUN and not runner.log(stage("late", "")).exists()


def test_a_second_call_runs_what_is_left(runner, tmp_path):
    count = "import sys; open(sys.argv[1], 'a').write('x')"
    groups = [
        (stage("good", count, arguments=(str(tmp_path / "good"),)),),
        (stage("bad", count + "; sys.exit(1)", arguments=(str(tmp_path / "bad"),)),),
        (stage("slow", count + "; import time; time.sleep(60)", 1, arguments=(str(tmp_path / "slow"),)),),
    ]
    runner.run(groups, 60)
    again = Runner(tmp_path, "these sources", lambda line: None)
    assert again.outcomes == runner.outcomes
    again.run(groups, 60)
    assert [len((tmp_path / name).read_text()) for name in ("good", "bad", "slow")] == [1, 1, 2]
    assert Runner(tmp_path, "other sources", lambda line: None).outcomes == {}


def test_stages_of_a_group_run_side_by_side(runner, tmp_path):
    wait = "import sys, time, os\nopen(sys.argv[1], 'w')\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.01)"
    one, other = (str(tmp_path / name) for name in ("one", "other"))
    runner.run([(stage("a", wait, arguments=(one, other)), stage("b", wait, arguments=(other, one)))], 60)
    assert [each.verdict for each in runner.outcomes.values()] == [PASSED, PASSED]


def test_the_fingerprint_is_of_contents_and_names(tmp_path):
    (tmp_path / "kernels").mkdir()
    source = tmp_path / "kernels" / "one.py"
    seen = set()
    for name, text in (("one.py", "1"), ("one.py", "2"), ("two.py", "2")):
        source = source.rename(source.with_name(name)) if source.exists() else source
        source.write_text(text)
        seen.add(fingerprint(tmp_path, ("kernels",)))
        assert fingerprint(tmp_path, ("kernels",)) in seen
    assert len(seen) == 3


def script(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([ROOT / "bench" / "on_gpu.sh", *map(str, arguments)], capture_output=True, text=True)


def test_the_script_prints_its_plan(tmp_path):
    done = script("--plan")
    assert done.returncode == 0, done.stderr
    for group in MEASURED:
        assert all(each.name in done.stdout for each in group)
    assert "synccheck" in done.stdout and f"= {total(MEASURED)} s" in done.stdout
    assert "operators' tests" not in script("--plan", "--from", "operators").stdout
    assert script("--plan", "--from", "nothing").returncode == 2


def test_the_script_reports_and_a_cut_off_is_no_failure(tmp_path, monkeypatch, capsys):
    groups = [
        (stage("good", "print('fine')"),),
        (stage("slow", "import time; time.sleep(60)", 1),),
        (stage("missing", "", missing="no such tool"),),
    ]
    monkeypatch.setattr(on_gpu, "plan", lambda **options: groups)
    monkeypatch.setattr(on_gpu, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["on_gpu", str(tmp_path / "out"), "--state", str(tmp_path / "state")])
    assert on_gpu.main() == 0
    printed = capsys.readouterr().out
    assert "nothing failed" in printed and "goes on: slow\n" in printed
    table = (tmp_path / "out" / "stages.md").read_text()
    assert "| slow | cut off | 1 |" in table and "| missing | not run | 0 | no such tool |" in table
    assert "fine" in (tmp_path / "out" / "log.txt").read_text()
    groups.append((stage("bad", "raise SystemExit(3)"),))
    assert on_gpu.main() == 1
    assert "failed: bad" in capsys.readouterr().out
    assert json.loads((tmp_path / "state" / "stages.json").read_text())["outcomes"]["bad"]["verdict"] == FAILED
