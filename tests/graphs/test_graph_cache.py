"""Graphs kept on disk: found again, never wrong, never in the way."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_dataset

from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.kernels import CSRGraph

WITH_VALUES = CSRGraph(
    torch.tensor([0, 2, 2, 3]), torch.tensor([0, 3, 1]), (3, 4), values=torch.tensor([0.1, 0.2, 0.3])
)
WITHOUT = CSRGraph(torch.tensor([0, 1, 1], dtype=torch.int32), torch.tensor([1], dtype=torch.int32), (2, 2))


@pytest.fixture
def warnings(caplog, monkeypatch):
    """The warnings of this room, once each, wherever a command has sent the log."""
    logger = logging.getLogger("mde_fast.graphs")
    monkeypatch.setattr(logger, "propagate", False)
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


def _same(one: CSRGraph, other: CSRGraph) -> bool:
    return (
        one.shape == other.shape
        and torch.equal(one.rowptr, other.rowptr)
        and torch.equal(one.columns, other.columns)
        and one.columns.dtype == other.columns.dtype
        and (one.values is None) == (other.values is None)
        and (one.values is None or torch.equal(one.values, other.values))
        and (one.constant, one.symmetric) == (other.constant, other.symmetric)
    )


def _never():
    pytest.fail("built although it was there")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("graph", (WITH_VALUES, WITHOUT), ids=("values", "no values"))
def test_a_hit_gives_the_same_graph(tmp_path, graph):
    cache = GraphCache(tmp_path / "new" / "folder")
    assert _same(cache.graph(lambda: graph, "some graph", 1), graph)
    assert _same(cache.graph(_never, "some graph", 1), graph)
    assert _same(GraphCache(tmp_path / "new" / "folder").graph(_never, "some graph", 1), graph)
    assert [path.suffix for path in _files(tmp_path / "new" / "folder")] == [".safetensors"], "nothing temporary stays"


@pytest.mark.parametrize("dtype", (np.int32, np.float32))
def test_arrays(tmp_path, dtype):
    array = np.arange(12, dtype=dtype).reshape(3, 4)
    cache = GraphCache(tmp_path)
    for build in (lambda: array, _never):
        found = cache.array(build, "some array", "key")
        assert found.dtype == dtype and np.array_equal(found, array)


KEYS = {
    "what": ("array", 3, np.zeros((2, 3), dtype=np.float32)),
    "a number": ("graph", 4, np.zeros((2, 3), dtype=np.float32)),
    "one element": ("graph", 3, np.array([[0, 0, 0], [0, 0, 1]], dtype=np.float32)),
    "sign of a zero": ("graph", 3, -np.zeros((2, 3), dtype=np.float32)),
    "shape": ("graph", 3, np.zeros((3, 2), dtype=np.float32)),
    "type": ("graph", 3, np.zeros((2, 3), dtype=np.int32)),
    "one more part": ("graph", 3, np.zeros((2, 3), dtype=np.float32), None),
}


@pytest.mark.parametrize("changed", KEYS)
def test_another_key_is_another_graph(tmp_path, changed):
    cache = GraphCache(tmp_path)
    cache.array(lambda: np.array([1]), "graph", 3, np.zeros((2, 3), dtype=np.float32))
    assert cache.array(lambda: np.array([2]), *KEYS[changed]).tolist() == [2]


def test_the_order_in_memory_does_not_change_a_key(tmp_path):
    cache, matrix = GraphCache(tmp_path), np.arange(6.0).reshape(2, 3)
    cache.array(lambda: np.array([1]), "graph", matrix)
    assert cache.array(_never, "graph", np.asfortranarray(matrix)).tolist() == [1]


@pytest.mark.parametrize(
    "damage",
    (
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a graph"),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(path.read_bytes()[:9]),
        lambda path: (path.unlink(), path.mkdir()),
    ),
    ids=("empty", "other content", "cut short", "cut in the header", "a folder"),
)
def test_a_damaged_file_is_made_anew(tmp_path, warnings, damage):
    cache = GraphCache(tmp_path)
    cache.graph(lambda: WITH_VALUES, "some graph", 1)
    (path,) = _files(tmp_path)
    damage(path)
    assert _same(cache.graph(lambda: WITH_VALUES, "some graph", 1), WITH_VALUES)
    assert str(path) in warnings()[0] and "building it anew" in warnings()[0]
    if path.is_file():
        assert _same(cache.graph(_never, "some graph", 1), WITH_VALUES)


class _Trap:
    """Whoever unpickles this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(tmp_path, warnings):
    cache = GraphCache(tmp_path / "cache")
    cache.graph(lambda: WITHOUT, "some graph", 1)
    (path,) = _files(tmp_path / "cache")
    trap = _Trap(tmp_path / "sprung")
    for lay in (lambda: path.write_bytes(pickle.dumps(trap)), lambda: torch.save(trap, path)):
        lay()
        assert _same(cache.graph(lambda: WITHOUT, "some graph", 1), WITHOUT)
    assert len(warnings()) == 2
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.path.exists(), "the trap works"


def test_a_folder_that_cannot_be_written(tmp_path, warnings):
    (tmp_path / "file").write_text("in the way")
    cache = GraphCache(tmp_path / "file" / "graphs")
    assert _same(cache.graph(lambda: WITH_VALUES, "some graph", 1), WITH_VALUES)
    assert "not cached" in warnings()[-1]


def test_a_full_disk(tmp_path, monkeypatch, warnings):
    def full(tensors, path):
        Path(path).write_bytes(b"half a fi")
        raise OSError("No space left on device")

    monkeypatch.setattr("mde_fast.graphs.cache.save_file", full)
    assert _same(GraphCache(tmp_path).graph(lambda: WITH_VALUES, "some graph", 1), WITH_VALUES)
    assert "No space left" in warnings()[0] and not _files(tmp_path)


def test_no_folder_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = []
    for _ in range(2):
        GraphCache(None).graph(lambda: built.append(1) or WITHOUT, "some graph", 1)
    assert len(built) == 2 and not _files(tmp_path)


def test_errors_of_a_builder_are_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        GraphCache(tmp_path).graph(lambda: 1 / 0, "some graph", 1)


def _build(dataset, cache, *, user_k=3, item_k=4, weights=()) -> tuple[CSRGraph, CSRGraph, CSRGraph]:
    """Every graph that MDE passes messages over; with weights the item graphs are one."""
    store = GraphStore(dataset.train_matrix, dataset.features, cache)
    items = store.blended_item_graph(item_k, weights) if weights else store.item_graphs(item_k)
    return store.user_item(), store.co_occurrence(user_k), items


def test_graphs_of_a_data_set_from_the_cache(tmp_path):
    dataset, cache = tiny_dataset(), GraphCache(tmp_path)
    built, found, fresh = _build(dataset, cache), _build(dataset, cache), _build(dataset, GraphCache(None))
    for first, second, without in zip(built, found, fresh):
        assert _same(second, without) and _same(first, without)


def test_what_changes_the_graphs_changes_the_files(tmp_path):
    dataset, cache = tiny_dataset(), GraphCache(tmp_path)
    _build(dataset, cache)
    assert len(_files(tmp_path)) == 3  # users, images, texts
    _build(dataset, cache, weights=(0.1, 0.9))
    assert len(_files(tmp_path)) == 3, "a blend is made of the same neighbours"
    _build(dataset, cache, user_k=2)
    assert len(_files(tmp_path)) == 4
    _build(dataset, cache, item_k=2)
    assert len(_files(tmp_path)) == 6
    _build(tiny_dataset(seed=1), cache)
    assert len(_files(tmp_path)) == 9
