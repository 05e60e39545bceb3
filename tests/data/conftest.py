"""Folders of data for the readers to read."""

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mde_fast.errors import InputError

INTER = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n1\t0\t0\n1\t2\t0\n1\t1\t2\n"


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path, monkeypatch):
    """No data but the test's own: an empty current folder and cache, and no environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MDE_FAST_DATA", raising=False)


@pytest.fixture
def write(tmp_path):
    """write({"shop/shop.inter": text or bytes or array}) -> the folder of the first file."""

    def write(files: dict) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, np.ndarray):
                np.save(path, content)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        return (tmp_path / next(iter(files))).parent

    return write


@pytest.fixture
def mmrec(write):
    """An MMRec folder of three items whose ``.inter`` is the given text."""
    return lambda text=INTER: write({"shop/shop.inter": text})


@pytest.fixture
def refused():
    """refused("part", ...) expects an InputError of one line that has all the parts; gives pytest's record."""

    @contextmanager
    def refused(*parts):
        with pytest.raises(InputError) as caught:
            yield caught
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert str(part) in message

    return refused


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the public data sets, where this machine has them."""
    for root in filter(None, (os.environ.get("MDE_FAST_DATA"), "data")):
        if Path(root, "baby", "baby.inter").exists():
            return Path(root).resolve()
    pytest.skip("no real data: set MDE_FAST_DATA to a folder with baby/baby.inter")
