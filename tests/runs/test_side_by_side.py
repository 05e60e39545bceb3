"""Several runs in one process: threads do not see each other's chance or lines, and notebooks show progress."""

import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_runs import OPTIONS, assert_same_result

from mde_fast import make_config, start_run
from mde_fast.report.console import in_notebook, progress_bar


def _options(**changes):
    return make_config({**OPTIONS, "cache_dir": "none", "epochs": 3, **changes})


@pytest.mark.parametrize("model", ("mde", "bm3"))
def test_threads_train_as_each_would_alone(shop, model):
    """Neither the parameters nor the draws of one run come from what the other uses."""
    hyper = {name: value for name, value in OPTIONS.items() if model == "mde" or name != "projection_hidden"}
    config = {
        seed: make_config({**hyper, "cache_dir": "none", "epochs": 3, "model": model, "seed": seed}) for seed in (1, 2)
    }
    for seed in config:
        start_run(config[seed], f"alone-{seed}")
    begin, failures = threading.Barrier(2), []

    def train(seed: int) -> None:
        try:
            torch.set_num_threads(1)  # which is a thread's own matter
            begin.wait()
            start_run(config[seed], f"beside-{seed}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(seed,)) for seed in config]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for seed in config:
        assert_same_result(Path(f"beside-{seed}"), Path(f"alone-{seed}"))
        lines, expected = (
            [line.split(" ", 2)[2] for line in Path(f"{kind}-{seed}/log.txt").read_text().splitlines()]
            for kind in ("beside", "alone")
        )
        own = [line for line in lines if line.startswith(("epoch", "training", "results"))]
        assert len(own) == len([line for line in expected if line.startswith(("epoch", "training", "results"))]) == 5
        assert f"seed {seed} -> beside-{seed}" in "\n".join(own)


def test_the_callers_chance_is_left_alone(shop):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    start_run(_options(), "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_callers_log_is_as_before(shop, caplog):
    logger = logging.getLogger("mde_fast")
    before = logger.level, list(logger.handlers)
    start_run(_options(), "run")
    assert (logger.level, list(logger.handlers)) == before


@pytest.fixture
def notebook(monkeypatch):
    """What tells that a process is the kernel of a notebook."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)  # a notebook without widgets gets bars of text


def test_a_notebook_shows_progress(shop, notebook, capsys, monkeypatch):
    logger = logging.getLogger("mde_fast")
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handlers
    monkeypatch.setattr(logger, "handlers", [])
    assert in_notebook()
    start_run(_options(), "run")
    shown = capsys.readouterr()
    assert "epoch   3  loss" in shown.out and "shop (real): 60 users" in shown.out
    assert "epoch 1:" in shown.err and "step/s" in shown.err
    assert not logger.handlers


def test_a_notebook_that_logs_by_itself_is_not_told_twice(shop, notebook, capsys, monkeypatch):
    logger = logging.getLogger("mde_fast")
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    start_run(_options(), "run")
    assert "epoch   3  loss" not in capsys.readouterr().out


def test_elsewhere_there_is_no_bar_but_on_terminals(capsys):
    assert not in_notebook()
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""
