"""The seed alone decides a run, and the validation metric its end."""

import pytest
import torch
from small_runs import assert_same_result, epoch_rows, metrics

from mde_fast.ranking.evaluator import Evaluator
from mde_fast.runs.run import RunFolder


def test_the_same_seed_gives_the_same_bits(trained):
    assert_same_result(trained("one", "--epochs", 3), trained("other", "--epochs", 3))


def test_graphs_from_the_cache_change_nothing(trained):
    built = trained("one", "--epochs", 2, "--cache-dir", "none")
    trained("fills the cache", "--epochs", 1, "--cache-dir", "graphs")
    assert_same_result(built, trained("other", "--epochs", 2, "--cache-dir", "graphs"))


def test_another_seed_differs(trained):
    one, other = trained("one", "--epochs", 2), trained("other", "--epochs", 2, "--seed", 1000)
    tensors = [RunFolder(run).checkpoints.load("best")[1] for run in (one, other)]
    for name in ("model.user_table", "model.towers.0.first.weight", "user_embeddings"):
        assert not torch.equal(tensors[0][name], tensors[1][name])
    assert epoch_rows(one)[0]["loss"] != epoch_rows(other)[0]["loss"]


def test_more_epochs_begin_the_same(trained):
    short, long = epoch_rows(trained("short", "--epochs", 2)), epoch_rows(trained("long", "--epochs", 4))
    assert [row["loss_parts"] for row in short] == [row["loss_parts"] for row in long[:2]]


@pytest.fixture
def valid_metrics(monkeypatch):
    """valid_metrics([...]) makes these the validation metric of epoch 1, 2, ..., whatever the model does."""
    measure = Evaluator.__call__

    def valid_metrics(values: list[float]) -> None:
        coming = iter(values)

        def scripted(self, users, items, part):
            measured = measure(self, users, items, part)
            return measured | {"recall@20": next(coming)} if part == "valid" else measured

        monkeypatch.setattr(Evaluator, "__call__", scripted)

    return valid_metrics


def test_stops_after_so_many_epochs_without_improvement(training, trained, valid_metrics):
    valid_metrics([0.1, 0.3, 0.2, 0.3, 0.25, 0.9])
    result = metrics(trained("run", "--epochs", 50, "--stopping-step", 3))
    assert (result["epochs_run"], result["best_epoch"], result["valid"]["recall@20"]) == (5, 2, 0.3)


def test_an_improvement_below_the_fourth_decimal_is_none(trained, valid_metrics):
    valid_metrics([0.1, 0.10004, 0.10003, 0.2])
    result = metrics(trained("run", "--epochs", 50, "--stopping-step", 2))
    assert (result["epochs_run"], result["best_epoch"], result["valid"]["recall@20"]) == (3, 1, 0.1)


def test_each_improvement_gives_more_time(trained, valid_metrics):
    valid_metrics([0.1, 0.05, 0.2, 0.1, 0.3, 0.2, 0.2])
    result = metrics(trained("run", "--epochs", 50, "--stopping-step", 2))
    assert (result["epochs_run"], result["best_epoch"]) == (7, 5)


def test_no_hit_at_all_still_has_a_best_epoch(trained, valid_metrics):
    valid_metrics([0.0, 0.0, 0.0])
    result = metrics(trained("run", "--epochs", 50, "--stopping-step", 2))
    assert (result["epochs_run"], result["best_epoch"]) == (3, 1)


def test_the_epoch_limit_comes_first(training, shop, valid_metrics):
    valid_metrics([0.1, 0.2])
    outcome = training("--output", "run", "--epochs", 2, "--stopping-step", 1)
    assert outcome.status == 0 and "stopped early" not in outcome.out


def test_stopping_early_is_said(training, shop, valid_metrics):
    valid_metrics([0.2, 0.1])
    assert "no improvement for 1 epochs: stopped early" in training("--output", "run", "--stopping-step", 1).out
