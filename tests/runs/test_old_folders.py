"""Folders that version 0.1.0 wrote are evaluated, recommended from, inspected, resumed and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from refused import assert_refused
from small_runs import epoch_rows, metrics

from mde_fast import Recommender, __version__
from mde_fast.options import read_mapping
from mde_fast.runs.run import RunFolder

OLD = Path(__file__).parents[1] / "old_runs"
MODELS = ("mde", "lightgcn")


@pytest.fixture(autouse=True)
def old(tmp_path):
    """Copies of the folders, and their data, in the current folder."""
    shutil.copytree(OLD, tmp_path / "here", dirs_exist_ok=True)


@pytest.mark.parametrize("model", MODELS)
def test_a_run_is_evaluated_as_it_was(command, model):
    outcome = command("evaluate", model, "--json")
    assert outcome.status == 0, outcome.err
    again, then = json.loads(outcome.out), metrics(Path(model))
    for part in ("valid", "test"):
        assert again[part] == pytest.approx(then[part], abs=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_a_run_recommends(command, model):
    assert command("recommend", model, "--user", "3").status == 0
    _, tensors = RunFolder(model).checkpoints.load("best")
    scores = tensors["item_embeddings"].double() @ tensors["user_embeddings"][3].double()
    seen = {
        int(line.split("\t")[1]) for line in Path("data/shop/shop.inter").read_text().splitlines() if line[:2] == "3\t"
    }
    best = max((item for item in range(40) if item not in seen), key=lambda item: scores[item])
    recommender = Recommender.load(model)
    assert recommender.recommend(["3"], k=1)[0][0][0] == best
    for option in ({"filter_seen": "train"}, {"candidates": "content"}):
        assert_refused(
            lambda: recommender.recommend(["3"], **option), next(iter(option)), "version 0.1.0", "train again"
        )


def test_a_run_is_inspected(command):
    outcome = command("inspect", "mde")
    assert outcome.status == 0 and "60 users" in outcome.out, outcome.err
    assert json.loads(Path("mde/inspect/inspect.json").read_text())["best_epoch"] == metrics(Path("mde"))["best_epoch"]


@pytest.mark.parametrize("model", MODELS)
def test_a_run_goes_on_as_if_it_had_never_stopped(command, model):
    outcome = command("train", "--resume", model, "--epochs", 6)
    assert outcome.status == 0, outcome.err
    assert "older than minutes, which has its default None" in outcome.out
    assert "older than feature_rank, which stays full" in outcome.out
    assert read_mapping(f"{model}/config.yaml")["feature_rank"] == "full" == metrics(Path(model))["feature_rank"]
    rows, expected = epoch_rows(Path(model)), json.loads((OLD / "expected" / f"{model}.json").read_text())
    result = metrics(Path(model))
    assert len(rows) == 6 and rows[3]["mde_fast"] == __version__ and "mde_fast" not in rows[2]
    assert result["best_epoch"] == expected["best_epoch"]
    # Equal to the last bit on the machine that wrote the folder; another processor rounds some products otherwise.
    for part in ("valid", "test"):
        assert result[part] == pytest.approx(expected[part], abs=0.02)
    assert read_mapping(f"{model}/config.yaml")["mde_fast"] == __version__


def test_a_run_is_the_same_whichever_version_reads_its_options():
    """A lightgcn file of 0.1.0 names the options of MDE, which meant nothing to it."""
    content = read_mapping("lightgcn/config.yaml")
    assert content["model"] == "lightgcn" and "mda_weight" in content and "mde_fast" not in content
    config = RunFolder.open("lightgcn").config()
    assert {name: content[name] for name in ("embedding_size", "n_layers", "reg_weight")} == vars(config.hyper)


def test_a_search_goes_on(command):
    flags = (
        "--preset=none --dataset=shop --data-dir=data --cache-dir=none --embedding-size=8 --projection-hidden=8 "
        "--train-batch-size=64 --learning-rate=0.01 --device=cpu --epochs=3 --output=search"
    ).split()
    before = json.loads(Path("search/trials.json").read_text())["trials"]
    outcome = command("search", *flags, "--trials", 4)
    assert outcome.status == 0, outcome.err
    after = json.loads(Path("search/trials.json").read_text())
    assert len(before) == 3 and len(after["trials"]) == 4
    by_number = {row["trial"]: row for row in after["trials"]}
    for row in before:
        assert {**by_number[row["trial"]], "rank": row["rank"]} == row


def test_experiments_go_on(command):
    flags = (
        "--preset=none --dataset=shop --data-dir=data --cache-dir=none --embedding-size=8 --projection-hidden=8 "
        "--train-batch-size=64 --learning-rate=0.01 --device=cpu --output=experiments --seeds=999"
    ).split()
    before = json.loads(Path("experiments/table1.json").read_text())
    outcome = command("experiments", "table1", *flags, "--epochs", 2, "--report-only")
    assert outcome.status == 0, outcome.err
    after = json.loads(Path("experiments/table1.json").read_text())
    found = {row["name"]: row for row in after["rows"]}
    for then in before["rows"]:
        assert found.pop(then["name"])["mean"] == pytest.approx(then["mean"], abs=1e-12)
    assert not any(row["mean"] for row in found.values()), "rows that 0.1.0 had not are not begun"
    outcome = command("experiments", "table1", *flags, "--epochs", 3)
    assert outcome.status == 0, outcome.err
    runs = [run for row in json.loads(Path("experiments/table1.json").read_text())["rows"] for run in row["runs"]]
    assert [run["epochs_run"] for run in runs] == [3] * len(runs)


def test_embeddings_are_where_they_were():
    _, tensors = RunFolder("mde").checkpoints.load("best")
    assert tensors["user_embeddings"].shape == (60, 16) and np.isfinite(tensors["user_embeddings"].numpy()).all()
