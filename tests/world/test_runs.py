"""The command under torchrun: runs, interruptions, deaths, and what reads their folders afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SECONDS, environment, wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))

from small_runs import FLAGS, LIGHTGCN_FLAGS, epoch_rows, metrics, without_times, write_shop

from mde_fast import Recommender
from mde_fast.runs.config import make_config
from mde_fast.runs.life import evaluate_run, rebuild_model, resume_run, start_run
from mde_fast.runs.run import RunFolder

TRAIN = ["-m", "mde_fast.train", *FLAGS, "--cache-dir=none"]
LIGHTGCN = ["-m", "mde_fast.train", *LIGHTGCN_FLAGS, "--cache-dir=none"]
FOREVER = ["--epochs=100000", "--stopping-step=100000"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A run of six epochs by one process."""
    root = tmp_path_factory.mktemp("alone")
    write_shop(root / "data")
    options = dict(flag.removeprefix("--").replace("-", "_").split("=", 1) for flag in FLAGS if "preset" not in flag)
    start_run(make_config({**options, "data_dir": str(root / "data"), "cache_dir": "none"}), root / "run")
    return root / "run"


@pytest.fixture
def shop(torchrun, tmp_path) -> Path:
    return write_shop(tmp_path / "data")


def ended(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode == 0) == (status == 0), err
    return out, err


def errors(err: str) -> list[str]:
    """Our lines among torchrun's."""
    return [line for line in err.splitlines() if line.startswith("error: ")]


def assert_nearly_the_same(run: Path, other: Path) -> None:
    """Losses and metrics up to the order of sums, and the parameters of the best epoch."""
    rows, expected = epoch_rows(run), epoch_rows(other)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], rel=1e-6)
    assert [row["best"] for row in rows] == [row["best"] for row in expected]
    for row, row_then in zip(rows, expected):
        assert row["valid"] == pytest.approx(row_then["valid"], rel=1e-6)
    assert metrics(run)["test"] == pytest.approx(metrics(other)["test"], rel=1e-6)
    tensors, tensors_then = (RunFolder(folder).checkpoints.load("best")[1] for folder in (run, other))
    assert tensors.keys() == tensors_then.keys()
    for name, tensor in tensors.items():
        assert tensor.shape == tensors_then[name].shape, name
        if name.startswith("model."):
            torch.testing.assert_close(tensor, tensors_then[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_and_its_readers(torchrun, shop, alone):
    """Two processes make the run of one; what reads it needs no torchrun; another number of them goes on."""
    out, _ = ended(torchrun(2, *TRAIN, "--output=run"))
    assert out.count("epoch   1 ") == 1 and "2 processes" in out
    run = Path("run")
    assert_nearly_the_same(run, alone)
    files = {path.name for path in (run / "checkpoints").iterdir()}
    assert files == {
        f"{kind}-{epoch:04d}-000000-{rank}of2.safetensors"
        for kind, epoch in (("last", 6), ("best", metrics(run)["best_epoch"]))
        for rank in (1, 2)
    } | {"last.json", "best.json"}

    here, there = Recommender.load(run), Recommender.load(alone)
    ours, theirs = here.recommend(["17"], k=5)[0], there.recommend(["17"], k=5)[0]
    assert [item for item, _ in ours] == [item for item, _ in theirs]
    np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=1e-4)
    assert evaluate_run(run)["test"] == pytest.approx(metrics(run)["test"])
    users, _ = rebuild_model(run)[0].embeddings()
    assert users.shape == (60, 16)

    def later(folder: Path, epochs: int) -> dict:
        return without_times(epoch_rows(folder)[epochs - 1])

    resume_run(run, {"epochs": 7})  # by one
    assert metrics(run)["epochs_run"] == 7
    ended(torchrun(4, "-m", "mde_fast.train", "--resume=run", "--epochs=8"))
    assert len(list((run / "checkpoints").glob("last-*.safetensors"))) == 4
    resume_run(alone, {"epochs": 8})
    for epochs in (7, 8):
        assert later(run, epochs)["loss"] == pytest.approx(later(alone, epochs)["loss"], rel=1e-5)


def test_a_death_in_the_middle_of_an_epoch(torchrun, shop):
    """torchrun starts both again, and the run ends as one that nobody disturbed, bit for bit."""
    flags = [*TRAIN, "--epochs=25", "--stopping-step=100"]
    process = torchrun(2, *flags, "--output=disturbed", restarts=1)
    wait_for(lambda: Path("disturbed/metrics.jsonl").exists(), process)
    workers = [int(text) for text in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    second = [
        pid
        for pid in workers
        if b"RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
        and b"LOCAL_RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()
    ]
    os.kill(second[0], signal.SIGKILL)
    out, err = ended(process)
    assert "epochs and" in out and "cannot reach the others" in err
    ended(torchrun(2, *flags, "--output=quiet"))
    assert [without_times(row) for row in epoch_rows(Path("disturbed"))] == [
        without_times(row) for row in epoch_rows(Path("quiet"))
    ]
    assert metrics(Path("disturbed"))["test"] == metrics(Path("quiet"))["test"]


def test_ctrl_c_reaches_all_after_the_same_step(torchrun, shop):
    process = torchrun(2, *LIGHTGCN, *FOREVER, "--output=run")
    wait_for(lambda: Path("run/metrics.jsonl").exists(), process)
    process.send_signal(signal.SIGINT)
    out, err = ended(process, 1)
    assert "interrupted: everything is saved, continue with --resume run" in out and not errors(err)
    state = json.loads(Path("run/checkpoints/last.json").read_text())
    assert len(state["tensors"]) == 2 and all(Path("run", name).is_file() for name in state["tensors"])
    _, tensors = RunFolder("run").checkpoints.load("last")
    assert tensors["model.table"].shape == (100, 8)
    assert tensors["optimizer.0.step"] == 7 * state["epoch"] + state["step"]


def test_refusals_are_one_line(torchrun, shop):
    _, err = ended(torchrun(2, *LIGHTGCN, "--model=lgmrec", "--output=run"), 2)
    assert len(errors(err)) == 1 and "lgmrec: mixes the columns" in err
    _, err = ended(torchrun(2, *TRAIN, "--embedding-size=7", "--output=run"), 2)
    assert len(errors(err)) == 1 and "embedding_size: 7 columns cannot be dealt out" in err
    assert not Path("run").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_nobody_to_meet(rank, tmp_path):
    """One line after the patience, not a hang."""
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29651"}
    command = [sys.executable, "-m", "mde_fast.train", "--dataset=shop"]
    alone = environment(MDE_FAST_PATIENCE="1", **place)
    process = subprocess.run(command, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: process {rank} of 2: cannot reach the others")
    assert process.stderr.count("\n") == 1
