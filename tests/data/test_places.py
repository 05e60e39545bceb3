"""Homes that are not known and folders that may not be looked into: one line, or none needed."""

import os
from pathlib import Path

import pytest

from mde_fast.data import load_dataset
from mde_fast.data.options import DataOptions
from mde_fast.files.places import user_cache, user_path
from mde_fast.graphs import GraphCache
from mde_fast.runs.assemble import graph_folder


@pytest.fixture
def homeless(monkeypatch):
    """No home in the environment, and a user that the system knows nothing of."""
    pwd = pytest.importorskip("pwd")

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def locked(tmp_path):
    """A folder that this process may not even look into."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0)
    user = os.geteuid() if hasattr(os, "geteuid") else None
    if user == 0:
        os.seteuid(65534)
    if os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        pytest.skip("nothing is locked for this user")
    yield folder
    if user == 0:
        os.seteuid(0)
    folder.chmod(0o700)


def test_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data" and user_path(Path("data")) == Path("data")
    assert user_cache() == tmp_path / "cache" / "mde_fast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == tmp_path / ".cache" / "mde_fast" and graph_folder(DataOptions()) == user_cache() / "graphs"


def test_a_home_that_is_not_known(refused, mmrec, homeless, monkeypatch):
    for path in ("~nosuchuser/x", "~/x", "~"):
        with refused(f"{path}: no home folder is known for ~", "(--dataset)", "in full"):
            load_dataset(path)
    with refused("~/x: no home folder is known", "(--data-dir)"):
        load_dataset("baby", data_dir="~/x")
    with refused("~/x.npy: no home folder is known", "(--features image=~/x.npy)"):
        load_dataset(mmrec(), features={"image": "~/x.npy"})
    monkeypatch.setenv("MDE_FAST_DATA", "~/x")
    with refused("~/x: no home folder is known", "($MDE_FAST_DATA)"):
        load_dataset("baby")


def test_without_a_home_there_is_no_cache(refused, homeless, mmrec):
    assert user_cache() is None
    assert load_dataset(mmrec(), use_features=False).name == "shop"
    assert load_dataset("baby", use_features=False).data == "stand-in"
    with refused("'other' not found; looked in data (no such folder);"):
        load_dataset("other")
    assert graph_folder(DataOptions()) is None
    with refused("no home folder is known for ~", "--cache-dir"):
        graph_folder(DataOptions(cache_dir="~/graphs"))


def test_folders_that_may_not_be_looked_into(refused, locked, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(locked))
    monkeypatch.setenv("MDE_FAST_DATA", str(locked / "data"))
    with refused("'other' not found", f"{locked / 'data'} (no such folder)"):
        load_dataset("other")
    with refused(locked / "a.csv", "no such file"):
        load_dataset(locked / "a.csv")


def test_graphs_are_made_where_no_cache_may_be_written(locked, caplog):
    import numpy as np

    made = GraphCache(locked / "graphs").array(lambda: np.arange(3), "some array", 1)
    assert made.tolist() == [0, 1, 2]
    assert "not cached" in caplog.text and "denied" in caplog.text
