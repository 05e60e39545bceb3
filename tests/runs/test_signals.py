"""Ctrl-C and SIGTERM: everything is saved, the shell hears of it, and the run goes on later as if nothing had been."""

import signal
from pathlib import Path

import pytest
from processes import start, wait_for
from small_runs import FLAGS, STEPS, assert_same_result, epoch_rows, metrics

from mde_fast.models.mde import MDE
from mde_fast.runs.run import RunFolder


def interrupt(number=signal.SIGINT):
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_middle_of_an_epoch(training, command, shop, at_step, number, finished):
    at_step(2 * STEPS + 3, interrupt(number))
    outcome = training("--output", "run")
    assert outcome.status == 130
    assert outcome.out.endswith("interrupted: everything is saved, continue with --resume run\nresults in run\n")
    run = Path("run")
    assert metrics(run)["status"] == "interrupted" and metrics(run)["epochs_run"] == len(epoch_rows(run)) == 2
    assert RunFolder(run).checkpoints.load("last")[0]["step"] == 3
    outcome = command("train", "--resume", "run")
    assert outcome.status == 0 and "2 epochs and 3 steps are done" in outcome.out
    assert_same_result(run, finished)


@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_in_the_first_epoch(training, command, shop, at_step, step, finished):
    at_step(step, interrupt())
    outcome = training("--output", "run")
    assert outcome.status == 130
    assert outcome.out.endswith("interrupted in the first epoch; continue with --resume run\n")
    assert not Path("run/metrics.json").exists()
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


@pytest.mark.parametrize("step", [STEPS, STEPS + 1])
def test_at_the_edge_of_an_epoch(training, command, shop, at_step, step, finished):
    at_step(STEPS + step, interrupt())
    assert training("--output", "run").status == 130
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


def test_again_and_again(training, command, shop, at_step, finished):
    for step in range(4, 6 * STEPS, 4):
        at_step(step, interrupt())
    outcome, interruptions = training("--output", "run"), 0
    while outcome.status == 130:
        interruptions += 1
        outcome = command("train", "--resume", "run")
    assert outcome.status == 0 and interruptions == 10
    assert_same_result(Path("run"), finished)


def test_while_the_last_epoch_is_evaluated(training, shop, monkeypatch, finished):
    """There is nothing left to continue, so the run is finished."""
    embeddings, calls = MDE.embeddings, []

    def interrupted_at_last(self):
        calls.append(1)
        if len(calls) == 6:
            signal.raise_signal(signal.SIGINT)
        return embeddings(self)

    monkeypatch.setattr(MDE, "embeddings", interrupted_at_last)
    outcome = training("--output", "run")
    assert outcome.status == 0 and "interrupted" not in outcome.out
    assert_same_result(Path("run"), finished)


def test_a_second_one_does_not_wait(training, command, shop, at_step, finished):
    at_step(STEPS + 2, lambda: (signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT)))
    outcome = training("--output", "run")
    assert (outcome.status, outcome.err) == (130, "interrupted\n")
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


def test_handlers_are_put_back(training, shop):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    training("--output", "run", "--epochs", 1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_real_process(shop):
    flags = [*FLAGS, "--epochs", "100000", "--stopping-step", "100000", "--output", "run"]
    with start("train", *flags) as process:
        wait_for(Path("run/metrics.jsonl").exists, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "interrupted: everything is saved, continue with --resume run" in out
    assert metrics(Path("run"))["epochs_run"] >= 1 and Path("run/curves.png").read_bytes()[:4] == b"\x89PNG"
