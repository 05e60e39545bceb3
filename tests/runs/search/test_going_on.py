"""A search that was cut off goes on as if nothing had been, and several processes share one."""

import fcntl
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import start, wait_for
from small_runs import STEPS, epoch_rows, files
from small_searches import EPOCHS, FOLDER, report_of, trials_of

from mde_fast.models.mde import MDE


@pytest.fixture
def started(shop, search_flags):
    """started("--trials", ...) -> a process that searches, as a shell would start it."""
    processes = []

    def started(*arguments) -> subprocess.Popen:
        processes.append(start("search", *search_flags, *arguments))
        return processes[-1]

    yield started
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows_of(number: int) -> int:
    path = FOLDER / f"trials/{number:04d}/metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def states() -> list[str]:
    with sqlite3.connect(FOLDER / "study.db") as database:
        return [state for (state,) in database.execute("select state from trials order by number")]


def test_the_same_command_twice_changes_nothing(searching, searched):
    before = searched("--trials", 3)
    outcome = searching("--trials", 3)
    assert outcome.status == 0 and "trial 3" not in outcome.out
    assert trials_of(report_of()) == trials_of(before)


def test_two_and_three_more_are_five(searched):
    searched("--trials", 2)
    parts = trials_of(searched("--trials", 5))
    assert parts == trials_of(searched("--trials", 5, output="other"))


def test_another_seed_searches_elsewhere(searched):
    one = trials_of(searched("--trials", 3))
    other = trials_of(searched("--trials", 3, "--sampler-seed", 1, output="other"))
    assert one[0] == other[0] and one[1:] != other[1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_of_a_trial(searching, searched, at_step, number):
    at_step((EPOCHS + 2) * STEPS + 3, lambda: signal.raise_signal(number))
    outcome = searching("--trials", 4)
    assert outcome.status == 130
    assert outcome.out.endswith("interrupted: everything is saved, the same command goes on\n")
    assert [row["state"] for row in report_of()["trials"]] == ["complete", "waiting"]
    assert rows_of(1) == 2 and states() == ["COMPLETE", "FAIL", "WAITING"]
    seconds = [row["seconds"] for row in epoch_rows(FOLDER / "trials/0001")]
    parts = trials_of(searched("--trials", 4))
    assert [row["seconds"] for row in epoch_rows(FOLDER / "trials/0001")][:2] == seconds, "they were not trained again"
    assert [row["epoch"] for row in epoch_rows(FOLDER / "trials/0001")] == [1, 2, 3]
    assert parts == trials_of(searched("--trials", 4, output="other"))
    assert {path.name for path in (FOLDER / "trials").iterdir()} == {"0000", "0001", "0003", "0004"}


def test_interrupted_in_the_first_epoch(searching, searched, at_step):
    at_step(2, lambda: signal.raise_signal(signal.SIGINT))
    assert searching("--trials", 2).status == 130
    assert "no trial is complete yet" in searching("--trials", 2, "--timeout", 0).out
    parts = trials_of(searched("--trials", 2))
    assert parts == trials_of(searched("--trials", 2, output="other"))


def test_interrupted_between_trials(searching, searched, monkeypatch):
    import mde_fast.search.trial as module

    make, made = module.make_model, []

    def interrupted(*arguments, **named):
        made.append(1)
        if len(made) == 2:
            signal.raise_signal(signal.SIGTERM)
        return make(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(module, "make_model", interrupted)
        assert searching("--trials", 3).status == 130
    assert [row["state"] for row in report_of()["trials"]] == ["complete", "waiting"]
    assert trials_of(searched("--trials", 3)) == trials_of(searched("--trials", 3, output="other"))


def test_interrupted_in_the_last_evaluation_of_a_trial(searching, monkeypatch):
    """That trial is complete, and the next is not begun."""
    embeddings, calls = MDE.embeddings, []

    def interrupted_at_last(self):
        calls.append(1)
        if len(calls) == EPOCHS:
            signal.raise_signal(signal.SIGINT)
        return embeddings(self)

    monkeypatch.setattr(MDE, "embeddings", interrupted_at_last)
    assert searching("--trials", 3).status == 130
    assert [row["state"] for row in report_of()["trials"]] == ["complete"]


def test_handlers_are_put_back(searching):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    searching("--trials", 1, "--epochs", 1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_time_is_up(searching, searched):
    flags = ["--trials", 3, "--epochs", 10**6, "--stopping-step", 10**6]
    outcome = searching(*flags, "--timeout", "4s")
    assert outcome.status == 0 and "trial 0: the time is up; the same command goes on with it" in outcome.out
    (row,) = report_of()["trials"]
    assert row["state"] == "waiting" and rows_of(0) >= 1
    done = rows_of(0)
    assert searching(*flags, "--timeout", "4s").status == 0
    assert rows_of(0) > done and states() == ["FAIL", "FAIL", "WAITING"]


def test_killed(started, searched):
    flags = ["--trials", 2, "--epochs", 15, "--stopping-step", 15]
    process = started(*flags)
    wait_for(lambda: rows_of(0) >= 3, process)
    process.kill()
    process.wait()
    assert states() == ["RUNNING"]
    seconds = [row["seconds"] for row in epoch_rows(FOLDER / "trials/0000")][:3]
    parts = trials_of(searched(*flags))
    rows = epoch_rows(FOLDER / "trials/0000")
    assert [row["epoch"] for row in rows] == list(range(1, 16)) and [row["seconds"] for row in rows][:3] == seconds
    assert states() == ["FAIL", "COMPLETE", "COMPLETE"]
    assert parts == trials_of(searched(*flags, output="other"))
    assert not [name for name in files(FOLDER) if "tmp" in name or "safetensors" in name]


def test_processes_share_a_search(started, searching):
    """Two of one command, and one of another."""
    other = started("--trials", 7)
    outcome = searching("--trials", 7, "--jobs", 2)
    out, err = other.communicate(timeout=120)
    assert (outcome.status, other.returncode) == (0, 0), (outcome, out, err)
    assert searching("--trials", 7).status == 0
    rows = report_of()["trials"]
    assert [row["state"] for row in rows] == ["complete"] * 7
    assert len({row["parameters"]["learning_rate"] for row in rows}) == 7
    assert sorted(row["trial"] for row in rows) == list(range(7))
    assert "2 processes of 1 thread" in outcome.out
    assert err == ""


def test_processes_are_interrupted_together(started):
    process = started("--trials", 5, "--jobs", 2, "--epochs", 10**6, "--stopping-step", 10**6)
    wait_for(lambda: rows_of(0) >= 1 and rows_of(1) >= 1, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "")
    assert "[1] trial " in out and "[2] trial " in out
    assert out.endswith("interrupted: everything is saved, the same command goes on\n")
    assert [row["state"] for row in report_of()["trials"]] == ["waiting", "waiting"]
    assert Path(FOLDER / "importance.png").read_bytes()[:4] == b"\x89PNG"


def test_processes_end_with_the_command_that_was_killed(started):
    process = started("--trials", 5, "--jobs", 2, "--epochs", 10**6, "--stopping-step", 10**6)
    wait_for(lambda: rows_of(0) >= 1 and rows_of(1) >= 1, process)
    process.kill()
    process.wait()
    locks = [FOLDER / f"trials/{number:04d}/lock" for number in range(2)]
    wait_for_silence(locks)
    assert states() == ["RUNNING", "RUNNING"], "whoever goes on finds them"


def wait_for_silence(locks: list[Path]) -> None:
    """Until nobody holds these locks."""
    patience = time.monotonic() + 120
    for path in locks:
        with open(path) as file:
            while time.monotonic() < patience:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.05)
            else:
                raise AssertionError(f"{path} is still held")


def test_processes_that_fail(searching, refused, monkeypatch, tmp_path):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'error: something went wrong'\nexit 2\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    said = "2 of 2 processes failed; process 1 (status 2) said last: something went wrong"
    refused(searching("--trials", 2, "--jobs", 2), said)
