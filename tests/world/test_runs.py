"""The command under torchrun: runs, interruptions, deaths, and what reads their folders afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from launched import SECONDS, environment, wait_for

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))

from small_runs import FLAGS, LIGHTGCN_FLAGS, epoch_rows, metrics, without_times, write_shop
from tiny import tiny_dataset

from mde_fast import Recommender
from mde_fast.errors import InputError
from mde_fast.models import model_names
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config
from mde_fast.runs.life import evaluate_run, rebuild_model, resume_run, start_run
from mde_fast.runs.run import RunFolder
from mde_fast.world import World

EPOCHS = 8
RUN = [*FLAGS, "--cache-dir=none", f"--epochs={EPOCHS}", "--stopping-step=100"]
TRAIN = ["-m", "mde_fast.train", *RUN]
LIGHTGCN = ["-m", "mde_fast.train", *LIGHTGCN_FLAGS, "--cache-dir=none"]
FOREVER = ["--epochs=100000", "--stopping-step=100000"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A run by one process."""
    root = tmp_path_factory.mktemp("alone")
    write_shop(root / "data")
    options = dict(flag.removeprefix("--").replace("-", "_").split("=", 1) for flag in RUN if "preset" not in flag)
    start_run(make_config({**options, "data_dir": str(root / "data")}), root / "run")
    return root / "run"


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """The same run by two processes, with the data beside it."""
    root = tmp_path_factory.mktemp("together")
    write_shop(root / "data")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *TRAIN,
        "--output=run",
    ]
    process = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("epoch   1 ") == 1 and "2 processes" in process.stdout
    return root


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


def test_two_processes_make_the_run_of_one(together, alone):
    assert_nearly_the_same(together / "run", alone)
    best = metrics(together / "run")["best_epoch"]
    assert {path.name for path in (together / "run/checkpoints").iterdir()} == {
        *(f"last-{EPOCHS:04d}-000000-{rank}of2.safetensors" for rank in (1, 2)),
        *(f"best-{best:04d}-000000-{rank}of2.safetensors" for rank in (1, 2)),
        *("last.json", "best.json"),
    }


def test_readers_need_no_torchrun(together, alone):
    run = together / "run"
    here, there = Recommender.load(run), Recommender.load(alone)
    ours, theirs = here.recommend(["17"], k=5)[0], there.recommend(["17"], k=5)[0]
    assert [item for item, _ in ours] == [item for item, _ in theirs]
    np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], rtol=1e-4)
    data_dir = str(together / "data")
    assert evaluate_run(run, data_dir=data_dir)["test"] == pytest.approx(metrics(run)["test"])
    users, _ = rebuild_model(run, data_dir=data_dir)[0].embeddings()
    assert users.shape == (60, 16)


def test_another_number_of_processes_goes_on(torchrun, together, alone, tmp_path):
    """One, then four."""
    shutil.copytree(together, tmp_path, dirs_exist_ok=True)
    run = Path("run")
    resume_run(run, {"epochs": EPOCHS + 1})
    assert len(list((run / "checkpoints").glob("last-*.safetensors"))) == 1
    ended(torchrun(4, "-m", "mde_fast.train", "--resume=run", f"--epochs={EPOCHS + 2}"))
    assert len(list((run / "checkpoints").glob("last-*.safetensors"))) == 4
    longer = shutil.copytree(alone, tmp_path / "longer")
    resume_run(longer, {"epochs": EPOCHS + 2, "data_dir": str(tmp_path / "data")})
    ours, theirs = epoch_rows(run), epoch_rows(longer)
    assert len(ours) == len(theirs) == EPOCHS + 2
    assert [row["loss"] for row in ours[EPOCHS:]] == pytest.approx([row["loss"] for row in theirs[EPOCHS:]], rel=1e-5)


def test_a_death_in_the_middle_of_an_epoch(torchrun, shop, together):
    """torchrun starts both again, and the run ends as one that nobody disturbed, bit for bit."""
    process = torchrun(2, *TRAIN, "--output=run", restarts=1)
    wait_for(lambda: Path("run/metrics.jsonl").exists(), process)
    os.kill(_process_of_rank(1, process.pid), signal.SIGKILL)
    out, err = ended(process)
    assert "epochs and" in out and "cannot reach the others" in err
    rows, expected = epoch_rows(Path("run")), epoch_rows(together / "run")
    assert [without_times(row) for row in rows] == [without_times(row) for row in expected]
    assert metrics(Path("run"))["test"] == metrics(together / "run")["test"]


def _process_of_rank(rank: int, torchrun: int) -> int:
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    (found,) = [pid for pid in children if f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()]
    return int(found)


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


def test_a_new_start_leaves_a_run_alone_that_it_did_not_begin(torchrun, together, tmp_path):
    """It is refused each time, in one line for both processes."""
    shutil.copytree(together, tmp_path, dirs_exist_ok=True)
    _, err = ended(torchrun(2, *TRAIN, f"--epochs={EPOCHS + 1}", "--output=run", restarts=1), 2)
    assert len(errors(err)) == 2 and all("run: holds a run already" in line for line in errors(err))
    assert metrics(Path("run")) == metrics(together / "run")


def test_models_that_mix_columns_are_refused():
    dataset, cpu = tiny_dataset(), torch.device("cpu")
    for name in set(model_names()) - {"lightgcn", "vbpr", "mde", "freedom", "dragon", "dualgnn"}:
        config = make_config({"model": name, "cache_dir": "none"})
        with pytest.raises(InputError, match=f"{name}: mixes the columns of its embeddings, so 2 processes"):
            make_model(config, dataset, cpu, world=World(0, 2))
    with pytest.raises(InputError, match="storage: bf16"):
        make_model(make_config({"storage": "bf16", "cache_dir": "none"}), dataset, cpu, world=World(0, 2))


def test_nobody_to_meet(tmp_path):
    """One line after the patience, not a hang: of one who comes first, and of one who finds no meeting place."""
    command = [sys.executable, "-m", "mde_fast.train", "--dataset=shop"]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MDE_FAST_PATIENCE": "1"}
    settings = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen(command, env=environment(**place, RANK=str(rank), MASTER_PORT=str(29651 + rank)), **settings)
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 2
        assert err.startswith(f"error: process {rank} of 2: cannot reach the others") and err.count("\n") == 1, err
