"""A resumed run is the run that was never stopped, or one line says why it cannot be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_runs import assert_same_result, epoch_rows, files, metrics

from mde_fast.files import Checkpoints, exclusive
from mde_fast.kernels.dispatch import implementation_in_full
from mde_fast.runs.run import RunFolder
from mde_fast.training import trainer


@pytest.fixture
def resumed(command):
    """resumed(run, "--epochs", ...) -> Outcome."""
    return lambda run, *arguments: command("train", "--resume", run, *arguments)


def test_three_epochs_and_three_more_are_six(halfway, resumed, finished):
    outcome = resumed(halfway, "--epochs", 6)
    assert outcome.status == 0, outcome.err
    assert_same_result(halfway, finished)
    assert RunFolder(halfway).config().training.epochs == 6
    assert files(halfway) == files(finished)


def test_a_finished_run_says_so_and_stays_what_it_is(halfway, resumed):
    before = {name: (halfway / name).read_bytes() for name in files(halfway) - {"log.txt"}}
    outcome = resumed(halfway)
    assert outcome.status == 0 and "is finished, there is nothing left to train" in outcome.out
    assert "epoch   " not in outcome.out and "recall" in outcome.out
    assert {name: (halfway / name).read_bytes() for name in before} == before


def test_a_run_that_stopped_early_stays_stopped(trained, resumed):
    run = trained("run", "--epochs", 50, "--stopping-step", 1)
    epochs = metrics(run)["epochs_run"]
    assert epochs < 50
    outcome = resumed(run, "--epochs", 60)
    assert outcome.status == 0 and "nothing left to train" in outcome.out and "stopped early" in outcome.out
    assert metrics(run)["epochs_run"] == epochs


def test_the_log_goes_on(halfway, resumed):
    before = (halfway / "log.txt").read_text()
    resumed(halfway, "--epochs", 4)
    log = (halfway / "log.txt").read_text()
    assert log.startswith(before) and log.count("epoch   4  loss") == 1


def test_without_a_checkpoint_it_starts_from_the_beginning(halfway, resumed, finished):
    """As after a kill in the first epoch."""
    shutil.rmtree(halfway / "checkpoints")
    (halfway / "checkpoints").mkdir()
    (halfway / "metrics.json").unlink()
    outcome = resumed(halfway, "--epochs", 6)
    assert "no checkpoint yet, starting from the beginning" in outcome.out
    assert_same_result(halfway, finished)


def test_what_a_kill_leaves_half_written_is_harmless(halfway, resumed, finished):
    checkpoints = halfway / "checkpoints"
    save_file({"generator": torch.zeros(3)}, checkpoints / "last-0004-000000.safetensors")  # its JSON never came
    save_file({"generator": torch.zeros(3)}, checkpoints / "best-0004-000000.safetensors")
    (checkpoints / "last-0004-000000.safetensors.17.tmp").write_bytes(b"half")
    (checkpoints / "last.json.17.tmp").write_text('{"epoch"')
    (checkpoints / ".tmpQx3").write_bytes(b"half")
    (halfway / "metrics.json.17.tmp").write_text("{")
    with open(halfway / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')
    assert resumed(halfway, "--epochs", 6).status == 0
    assert_same_result(halfway, finished)
    assert files(halfway) == files(finished)


def test_a_checkpoint_that_was_not_removed_in_time(trained, resumed, finished):
    run = trained("run")
    for kind in ("last", "best"):
        (run / f"checkpoints/{kind}-0000-000000.safetensors").write_bytes(b"of an earlier epoch")
    assert resumed(run).status == 0
    assert files(run) == files(finished)


def test_a_row_that_never_came_is_written_again(halfway, resumed, finished):
    rows = (halfway / "metrics.jsonl").read_text().splitlines(keepends=True)
    (halfway / "metrics.jsonl").write_text("".join(rows[:2]))
    resumed(halfway, "--epochs", 6)
    assert_same_result(halfway, finished)


def test_a_best_checkpoint_ahead_of_the_last_is_harmless(training, shop, resumed, finished, monkeypatch):
    """The best checkpoint is written first; the end may come between the two."""
    save, best = Checkpoints.save, metrics(finished)["best_epoch"]

    def interrupted(self, kind, state, *tensors):
        if (kind, state["epoch"]) == ("last", best):
            raise KeyboardInterrupt
        save(self, kind, state, *tensors)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", interrupted)
        assert training("--output", "run").status == 130
    run = Path("run")
    assert RunFolder(run).checkpoints.load("best")[0]["epoch"] == best
    assert resumed(run).status == 0
    assert_same_result(run, finished)


@pytest.mark.parametrize(
    "flag, value, name",
    [("--seed", 1, "seed"), ("--lr", 0.1, "learning_rate"), ("--dataset", "other", "dataset"), ("--topk", "7", "topk")],
)
def test_other_options_are_refused(halfway, resumed, refused, flag, value, name):
    config = (halfway / "config.yaml").read_text()
    refused(resumed(halfway, flag, value), f"{name}: a resumed run keeps its options", "only epochs, device")
    assert (halfway / "config.yaml").read_text() == config


def test_options_repeated_as_they_were_are_fine(halfway, resumed):
    assert resumed(halfway, "--seed", 999, "--dataset", "shop", "--epochs", 4).status == 0
    assert len(epoch_rows(halfway)) == 4


def test_fewer_epochs_than_are_done_are_refused(halfway, resumed, refused):
    config = (halfway / "config.yaml").read_text()
    refused(resumed(halfway, "--epochs", 2), "epochs: 3 are done already")
    assert (halfway / "config.yaml").read_text() == config


def test_other_interactions_are_refused(halfway, resumed, refused, shop):
    inter = shop / "shop.inter"
    inter.write_text(inter.read_text() + "60\t3\t0\n")
    refused(resumed(halfway, "--epochs", 4), "halfway", "shop", "60 users and 40 items then", "61 and 40 now")


def test_another_split_is_refused(halfway, resumed, refused, shop):
    lines = (shop / "shop.inter").read_text().splitlines()
    lines[-1] = lines[-1][:-1] + "0"
    (shop / "shop.inter").write_text("\n".join(lines))
    refused(resumed(halfway, "--epochs", 4), "another split")


@pytest.mark.parametrize("width", [8, 5])
def test_other_features_are_refused(halfway, resumed, refused, shop, width):
    np.save(shop / "text_feat.npy", np.random.default_rng(1).random((40, width)))
    refused(resumed(halfway, "--epochs", 4), "halfway", "other features of shop", "(text)")


def test_a_dataset_that_is_gone(halfway, resumed, refused, shop):
    shutil.rmtree(shop)
    refused(resumed(halfway, "--epochs", 4), "'shop' not found", "looked in")


def test_a_dataset_that_has_moved(halfway, resumed, finished, shop, tmp_path):
    shutil.move(shop.parent, tmp_path / "elsewhere")
    assert resumed(halfway, "--epochs", 6, "--data-dir", tmp_path / "elsewhere").status == 0
    assert_same_result(halfway, finished)


def test_a_dataset_that_was_named_by_its_path_and_has_moved(trained, resumed, finished, shop, tmp_path):
    run = trained("run", "--dataset", shop, "--epochs", 3)
    shutil.move(shop.parent, tmp_path / "elsewhere")
    outcome = resumed(run, "--epochs", 6, "--data-dir", tmp_path / "elsewhere")
    assert outcome.status == 0, outcome.err
    assert epoch_rows(run)[-1]["loss"] == epoch_rows(finished)[-1]["loss"]


@pytest.mark.parametrize("where", [".", "data", "nowhere", "data/shop/shop.inter"])
def test_a_folder_that_is_no_run(resumed, refused, shop, where):
    refused(resumed(where), "not a run folder (no config.yaml in it)")


def test_output_beside_resume(halfway, resumed, refused):
    refused(resumed(halfway, "--output", "other"), "--output: a resumed run stays in its folder")


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path):
    path.write_bytes(b"")


def _noise(path):
    path.write_bytes(bytes(range(256)) * 4)


def _remove(path):
    path.unlink()


LAST = "checkpoints/last-0003-000000.safetensors"


@pytest.mark.parametrize(
    "name, damage",
    [
        *[(LAST, damage) for damage in (_truncate, _empty, _noise, _remove)],
        *[("checkpoints/last.json", damage) for damage in (_truncate, _empty, _noise)],
        *[("catalogue.json", damage) for damage in (_truncate, _remove)],
        ("config.yaml", _noise),
    ],
)
def test_a_damaged_file_is_named(halfway, resumed, refused, name, damage):
    damage(halfway / name)
    refused(resumed(halfway, "--epochs", 4), halfway / name)


@pytest.mark.parametrize("content", ["{}", "[]", "3"])
@pytest.mark.parametrize("name", ["checkpoints/last.json", "catalogue.json"])
def test_a_file_without_its_entries_is_named(halfway, resumed, refused, name, content):
    (halfway / name).write_text(content)
    refused(resumed(halfway, "--epochs", 4), halfway / name, "lacks", "restore it")


@pytest.mark.parametrize("kind", ["last", "best"])
def test_a_checkpoint_that_somebody_removed(halfway, resumed, command, refused, kind):
    (halfway / f"checkpoints/{kind}.json").unlink()
    if kind == "last":
        refused(resumed(halfway, "--epochs", 4), "is over and has no last checkpoint")
    else:
        refused(command("recommend", halfway, "--user", 1), "checkpoints/best.json", "is gone")


@pytest.mark.parametrize(
    "name, then, now, said",
    [
        ("embedding_size", 8, 16, "embedding_size was 8, is 16"),
        ("model", "mde", "lightgcn", "is an option of mde, not of lightgcn"),
        ("valid_metric", "recall@20", "ndcg@13", "valid_metric was recall@20, is ndcg@13"),
    ],
)
def test_a_configuration_edited_after_training(halfway, resumed, command, refused, name, then, now, said):
    path = halfway / "config.yaml"
    path.write_text(path.read_text().replace(f"{name}: {then}\n", f"{name}: {now}\n"))
    assert f"{name}: {now}\n" in path.read_text()
    refused(resumed(halfway, "--epochs", 4), path, said, "restore it")
    refused(command("inspect", halfway), path, said)


def test_a_damaged_best_checkpoint_is_named(halfway, resumed, refused):
    (best,) = (halfway / "checkpoints").glob("best-*.safetensors")
    _truncate(best)
    refused(resumed(halfway), best)


def test_from_another_kind_of_device(halfway, resumed):
    """The state of a GPU's random generator has another size, and means nothing here."""
    state, tensors = RunFolder(halfway).checkpoints.load("last")
    save_file({**tensors, "generator": torch.zeros(16, dtype=torch.uint8)}, halfway / state["tensors"])
    outcome = resumed(halfway, "--epochs", 4)
    assert (outcome.status, metrics(halfway)["epochs_run"]) == (0, 4)
    assert outcome.err == "another kind of device than before: the run goes on with other random draws\n"


def test_with_another_number_of_threads_it_says_that_bits_may_differ(halfway, resumed):
    state, tensors = RunFolder(halfway).checkpoints.load("last")
    machine = {"device": "cpu", "CPU threads": torch.get_num_threads(), "torch": torch.__version__, "processes": 1}
    cpu = torch.device("cpu")
    assert set(state["made_on"].pop("measured").values()) <= {"native", "torch"}
    assert state["made_on"] == {**machine, "operators": implementation_in_full(cpu)}
    state["made_on"]["CPU threads"] = 64
    RunFolder(halfway).write_json("checkpoints/last.json", state)
    outcome = resumed(halfway, "--epochs", 4)
    assert outcome.err == (
        f"not the same bits from here on as without a stop: CPU threads was 64, is {torch.get_num_threads()}\n"
    )


def test_where_another_kernel_was_measured_faster_it_says_so(halfway, resumed, monkeypatch):
    """Of what only one of the two was asked nothing is said: it may not concern this training."""
    question, state = "row_sum of 2^17 numbers in float32", RunFolder(halfway).checkpoints.load("last")[0]
    state["made_on"]["measured"] = {question: "native", "only then": "native"}
    RunFolder(halfway).write_json("checkpoints/last.json", state)
    monkeypatch.setattr(trainer, "winners", lambda device: {question: "torch", "only now": "torch"})
    outcome = resumed(halfway, "--epochs", 4)
    assert outcome.err == f"not the same bits from here on as without a stop: {question} was native, is torch\n"


def test_an_older_checkpoint_is_not_kept(finished):
    state = json.loads((finished / "checkpoints/last.json").read_text())
    assert [path.name for path in (finished / "checkpoints").glob("last-*")] == [state["tensors"].split("/")[1]]


def test_one_command_at_a_time(halfway, resumed, refused):
    with exclusive(halfway, "wait"):
        refused(resumed(halfway, "--epochs", 6), halfway, "another command trains into it", "wait for its end")
    assert resumed(halfway, "--epochs", 4).status == 0
