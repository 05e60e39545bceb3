"""YAML files of options are read, and what is wrong with one is said in a line that names it."""

from __future__ import annotations

import pytest
from refused import assert_refused

from mde_fast.options import read_mapping, to_yaml


@pytest.fixture
def read(tmp_path):
    """The keys and values of a YAML text."""

    def read(text: str):
        path = tmp_path / "options.yaml"
        path.write_text(text, encoding="utf-8")
        return read_mapping(path)

    return read


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "{}"])
def test_a_file_may_be_empty(read, text):
    assert read(text) == {}


def test_keys_are_text(read):
    assert read("5: a\nyes: b\n") == {"5": "a", "True": "b"}


@pytest.mark.parametrize(
    "text, said",
    [
        ("epochs: [1", "not valid YAML"),
        ("epochs: 1\n\tseed: 2", "at line 2"),
        ("- epochs", "not a mapping"),
        ("just words", "not a mapping"),
        ("? [1, 2]\n: 3", "options.yaml"),
        ("epochs: 1\nseed: 2\nepochs: 3", "epochs is written 2 times; keep one of them"),
        ("features: {image: a.npy, image: b.npy}", "image is written 2 times"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(read, text, said):
    assert_refused(lambda: read(text), "options.yaml", said)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        assert_refused(lambda: read_mapping(path), path, "cannot be read")


def test_what_is_written_is_read_back_in_its_order(read):
    values = {"z": 1, "a": [0.1, 1e-12], "text": "Zürich 店: #x\n", "nothing": None, "files": {"image": "a.npy"}}
    assert list(read(to_yaml(values)).items()) == list(values.items())


def test_people_can_read_what_is_written():
    assert to_yaml({"dataset": "Zürich 店", "topk": [5, 10]}) == "dataset: Zürich 店\ntopk:\n- 5\n- 10\n"
