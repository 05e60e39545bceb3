"""Small runs, and the command lines as a shell would call them."""

import logging
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from small_runs import FLAGS, LIGHTGCN_FLAGS, OPTIONS, write_shop

import mde_fast.runs.life
from mde_fast import evaluate, export, recommend, train
from mde_fast.commands import run_command
from mde_fast.experiments import __main__ as experiments
from mde_fast.inspect import __main__ as inspect
from mde_fast.models.mde import MDE
from mde_fast.runs.config import make_config
from mde_fast.runs.life import start_run
from mde_fast.search import __main__ as search


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind for the shell."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """So small a product is faster without a second thread, and busy cores do not change that."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path, monkeypatch):
    """No data but the test's own: an empty current folder and cache, and no environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MDE_FAST_DATA", raising=False)


@pytest.fixture(autouse=True)
def no_picture(request, monkeypatch):
    """Drawing takes longer than such a run does; tests that look at the picture ask for ``picture``."""
    if "picture" not in request.fixturenames:
        monkeypatch.setattr(mde_fast.runs.life, "plot_curves", _empty_picture)


def _empty_picture(history, path: Path, **labels) -> None:
    path.write_bytes(b"")


@pytest.fixture
def picture():
    """Curves are drawn."""


@pytest.fixture
def shop(tmp_path) -> Path:
    """The folder of a small data set, free to be changed, below ``./data``."""
    return write_shop(tmp_path / "here" / "data")


@pytest.fixture(scope="package")
def finished(tmp_path_factory) -> Path:
    """A run of six epochs that nobody disturbed. Only to be read."""
    root = tmp_path_factory.mktemp("finished")
    write_shop(root / "data")
    start_run(make_config({**OPTIONS, "data_dir": str(root / "data"), "cache_dir": "none"}), root / "run")
    return root / "run"


@pytest.fixture(scope="package")
def _three_epochs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("halfway")
    write_shop(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(mde_fast.runs.life, "plot_curves", _empty_picture)
        start_run(make_config({**OPTIONS, "epochs": 3, "cache_dir": "none"}), Path("run"))
    return root / "run"


@pytest.fixture
def halfway(_three_epochs, shop) -> Path:
    """A run of three epochs on the data below the current folder, a copy of one that was trained once."""
    return shutil.copytree(_three_epochs, Path("halfway")).resolve()


@pytest.fixture
def command(capsys, monkeypatch):
    """command("train", "--dataset", ...) -> Outcome of ``python -m mde_fast.train``, in this process."""
    modules = {
        "train": train,
        "evaluate": evaluate,
        "recommend": recommend,
        "export": export,
        "experiments": experiments,
        "inspect": inspect,
        "search": search,
    }
    levels = {"train": logging.INFO, "experiments": logging.INFO, "search": logging.INFO}

    def command(name: str, *arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with _unchanged_logging(), pytest.raises(SystemExit) as ended:
            run_command(modules[name].main, level=levels.get(name, logging.WARNING))
        return Outcome(ended.value.code, *capsys.readouterr())

    return command


@contextmanager
def _unchanged_logging():
    logger = logging.getLogger("mde_fast")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def training(command):
    """training("--output", ...) -> Outcome of training on the small data set; later flags win."""

    def training(*arguments) -> Outcome:
        return command("train", *(LIGHTGCN_FLAGS if "lightgcn" in arguments else FLAGS), *arguments)

    return training


@pytest.fixture
def at_step(monkeypatch):
    """at_step(n, action) does something inside the n-th step of the process, counted from 1."""
    original, actions, done = MDE.loss_parts, {}, []

    def loss_parts(self, *batch):
        done.append(1)
        actions.get(len(done), lambda: None)()
        return original(self, *batch)

    monkeypatch.setattr(MDE, "loss_parts", loss_parts)
    return actions.__setitem__


@pytest.fixture
def trained(training, shop):
    """trained("name", "--seed", ...) -> run folder of a training that succeeded."""

    def trained(name: str, *arguments) -> Path:
        outcome = training("--output", name, *arguments)
        assert outcome.status == 0, outcome.err
        return Path(name).resolve()

    return trained


@pytest.fixture
def refused(command):
    """refused(outcome, "part", ...): the command ended with one line that has all the parts."""

    def refused(outcome: Outcome, *parts) -> None:
        assert outcome.status == 2, outcome
        assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
        for part in parts:
            assert str(part) in outcome.err
        assert "Traceback" not in outcome.out

    return refused
