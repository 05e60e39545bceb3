"""A loss that is no number ends a run with one line that says where it began, and what was learnt before stays."""

import math
from pathlib import Path

import pytest
import torch
from small_runs import STEPS, assert_same_result, epoch_rows

from mde_fast.models.mde import MDE
from mde_fast.runs.run import RunFolder


@pytest.fixture
def spoil(monkeypatch):
    """spoil(part, step, value) makes a part of the loss this value at the process's step, counted from 1."""
    original = MDE.loss_parts

    def spoil(part: str, step: int, value: float) -> None:
        done = []

        def loss_parts(self, *batch):
            done.append(1)
            parts = original(self, *batch)
            if len(done) == step:
                factor = parts.new_ones(len(parts))
                factor[self.part_names.index(part)] = value
                parts = parts * factor
            return parts

        monkeypatch.setattr(MDE, "loss_parts", loss_parts)

    return spoil


@pytest.mark.parametrize("part, value, shown", [("mda", math.nan, "nan"), ("bpr_text", math.inf, "inf")])
def test_names_the_epoch_the_step_and_the_part(training, shop, refused, spoil, part, value, shown):
    spoil(part, 2 * STEPS + 3, value)
    outcome = training("--output", "run")
    refused(outcome, f"epoch 3, step 3: loss part '{part}' is {shown}", "run keeps the epochs before", "learning_rate")
    assert "epoch   2  loss" in outcome.out and "epoch   3  loss" not in outcome.out
    assert Path("run/log.txt").read_text().rstrip().endswith(outcome.err.removeprefix("error: ").rstrip())


def test_the_checkpoint_before_loads_and_goes_on(training, command, shop, spoil, monkeypatch, finished):
    sound = MDE.loss_parts
    spoil("msa", 3 * STEPS + 1, math.nan)
    assert training("--output", "run").status == 2
    assert RunFolder("run").checkpoints.load("last")[0]["epoch"] == len(epoch_rows(Path("run"))) == 3
    assert command("recommend", "run", "--user", 3).status == 0
    monkeypatch.setattr(MDE, "loss_parts", sound)
    assert command("train", "--resume", "run").status == 0
    assert_same_result(Path("run"), finished)


def test_a_learning_rate_far_too_high(training, shop, refused):
    outcome = training("--output", "run", "--learning-rate", 1e30)
    refused(outcome, "epoch 1, step ", "loss part '")
    assert "epoch   1" not in outcome.out


def test_an_update_that_goes_wrong_after_the_last_loss(training, command, shop, refused):
    """The loss of the only step is fine; the parameters it leads to are not, and nobody may be shown their ranking."""
    refused(
        training("--output", "run", "--learning-rate", 1e30, "--train-batch-size", 1000),
        "epoch 1, step 1: the embeddings are not finite",
    )
    refused(command("recommend", "run", "--user", 3), "no best checkpoint")


def test_in_the_first_epoch_there_is_nothing_to_recommend_from(training, command, shop, refused, spoil):
    spoil("bpr", 1, math.nan)
    refused(training("--output", "run"), "epoch 1, step 1: loss part 'bpr'")
    refused(command("recommend", "run", "--user", 3), "no best checkpoint; the run ended before its first epoch")
    refused(command("evaluate", "run"), "no best checkpoint")


def test_a_device_that_is_full_ends_with_one_line(training, shop, refused, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(MDE, "loss_parts", full)
    refused(training("--output", "run"), "out of memory", "Tried to allocate 2.00 GiB", "train_batch_size")
