"""Tables in bf16 from the command line: trained, gone on with, and used like any other run."""

import json

from small_runs import FLAGS, metrics

from mde_fast.runs.run import RunFolder

HALVES = [*FLAGS, "--storage=bf16"]


def test_a_run_and_what_follows_it(command, shop):
    assert command("train", *HALVES, "--epochs=3", "--output=whole").status == 0
    assert command("train", *HALVES, "--epochs=2", "--output=run").status == 0
    outcome = command("train", "--resume=run", "--epochs=3")
    assert outcome.status == 0, outcome.err
    assert metrics(RunFolder("run").path)["test"] == metrics(RunFolder("whole").path)["test"]
    for arguments in (["evaluate", "run"], ["recommend", "run", "--all-users", "--k=3"], ["inspect", "run"]):
        outcome = command(*arguments)
        assert outcome.status == 0, outcome.err


def test_it_is_kept_and_cannot_change(command, refused, shop):
    assert command("train", *HALVES, "--epochs=1", "--output=run").status == 0
    assert RunFolder("run").config().training.storage == "bf16"
    refused(
        command("train", "--resume=run", "--epochs=2", "--storage=fp32"), "storage: a resumed run keeps its options"
    )


def test_models_without_tables_are_refused(command, refused, shop):
    refused(
        command("train", "--model=bm3", "--storage=bf16", "--preset=none"),
        "storage: bm3 is stored in fp32 alone; bf16 is for mde",
    )


def test_an_experiment_compares_it(command, shop):
    flags = [flag for flag in FLAGS if "preset" not in flag]
    outcome = command("experiments", "storage", *flags, "--epochs=1", "--seeds=999", "--preset=none")
    assert outcome.status == 0, outcome.err
    rows = json.loads((RunFolder("experiments/shop").path / "storage.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["mde", "mde-halves"]
    assert RunFolder("experiments/shop/runs/mde-halves-seed999").config().training.storage == "bf16"
