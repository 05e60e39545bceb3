"""A run on stand-in data says so first, last and in every file that holds a figure."""

import json
from pathlib import Path

import pytest
from small_runs import metrics, write_shop

from mde_fast.data import stand_in
from mde_fast.data.stand_in import StandInSize


@pytest.fixture
def small_stand_in(monkeypatch):
    """The published Baby shrinks to what trains in a moment."""
    size = StandInSize(users=160, items=120, train=640, valid=180, test=180, user_degree=20, item_degree=30)
    monkeypatch.setitem(stand_in.STAND_IN_SIZES, "baby", size)


def test_no_data_anywhere(training, command, small_stand_in):
    outcome = training("--dataset", "baby", "--epochs", 1, "--output", "run")
    assert (outcome.status, outcome.err) == (0, "")
    first, second = outcome.out.splitlines()[:2]
    assert first.startswith("STAND-IN DATA: synthetic") and "mkdir -p data/baby && cp" in first
    assert second.startswith("baby (stand-in): 160 users, 120 items")
    assert "These figures say nothing about real data (stand-in)." in outcome.out
    assert metrics(Path("run"))["data"] == "stand-in"
    assert json.loads(Path("run/catalogue.json").read_text())["data"] == "stand-in"
    assert "STAND-IN DATA" in Path("run/log.txt").read_text()
    assert command("evaluate", "run").out.startswith("mde on baby (stand-in)")
    assert json.loads(command("evaluate", "run", "--json").out)["data"] == "stand-in"


def test_a_run_on_it_goes_on(training, command, small_stand_in):
    assert training("--dataset", "baby", "--epochs", 1, "--output", "run").status == 0
    outcome = command("train", "--resume", "run", "--epochs", 2)
    assert outcome.status == 0 and outcome.out.startswith("STAND-IN DATA")
    assert metrics(Path("run"))["epochs_run"] == 2


def test_it_does_not_go_on_with_the_real_one(training, command, refused, small_stand_in):
    assert training("--dataset", "baby", "--epochs", 1, "--output", "run").status == 0
    write_shop(Path("data")).rename("data/baby")
    Path("data/baby/shop.inter").rename("data/baby/baby.inter")
    outcome = command("train", "--resume", "run", "--epochs", 2)
    refused(outcome, "run: trained on other data than baby", "160 users and 120 items then, 60 and 40 now")


def test_interactions_without_features(training, command):
    write_shop(Path("data"), with_features=False)
    outcome = training("--output", "run", "--epochs", 1)
    assert outcome.status == 0, outcome.err
    first = outcome.out.splitlines()[0]
    assert first.startswith("STAND-IN FEATURES: ") and "cp /path/to/MMRec/data/shop" in first
    assert "These figures say nothing about real data (stand-in features)." in outcome.out
    assert metrics(Path("run"))["data"] == "stand-in features"
    assert "(stand-in features)" in command("evaluate", "run").out.splitlines()[0]
