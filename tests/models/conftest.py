"""Shared by the models' tests."""

from __future__ import annotations

import pytest

from mde_fast.runs.config import read_options


@pytest.fixture
def read_mmrec(tmp_path):
    """(model, text) -> what a file of MMRec's with that text says for the model."""

    def read(model: str, text: str):
        path = tmp_path / f"{model}.yaml"
        path.write_text(text)
        return read_options(path, (model,))

    return read
