"""The user-user graph against counting common items pair by pair."""

import math
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from mde_fast.graphs import co_occurrence
from mde_fast.graphs.co_occurrence import co_occurrence_graph


def _random_train(seed: int, num_users: int, num_items: int, density: float) -> scipy.sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    return scipy.sparse.csr_matrix(rng.random((num_users, num_items)) < density, dtype=np.float32)


def _long_tailed_train(seed: int, num_users: int, num_items: int) -> scipy.sparse.csr_matrix:
    """Item 0 belongs to nearly everybody, the last ones to hardly anybody."""
    rng = np.random.default_rng(seed)
    chance = 0.95 / (1 + np.arange(num_items))
    return scipy.sparse.csr_matrix(rng.random((num_users, num_items)) < chance, dtype=np.float32)


def _by_loops(train: scipy.sparse.csr_matrix, k: int) -> list[dict[int, float]]:
    items = [set(row.indices.tolist()) for row in train]
    rows = []
    for user, own in enumerate(items):
        common = [(-len(own & other), neighbour) for neighbour, other in enumerate(items) if neighbour != user]
        chosen = [(-count, neighbour) for count, neighbour in sorted(common) if count < 0][:k]
        largest = max((count for count, _ in chosen), default=0)
        total = sum(math.exp(count - largest) for count, _ in chosen)
        rows.append({neighbour: math.exp(count - largest) / total for count, neighbour in chosen})
    return rows


def _rows_of(graph) -> list[dict[int, float]]:
    bounds, columns, values = graph.rowptr.tolist(), graph.columns.tolist(), graph.values.tolist()
    return [dict(zip(columns[low:high], values[low:high])) for low, high in zip(bounds, bounds[1:])]


def _check(train, k):
    graph = co_occurrence_graph(train, k)
    actual, expected = _rows_of(graph), _by_loops(train, k)
    assert graph.shape == (train.shape[0],) * 2 and graph.num_edges == sum(map(len, expected))
    for one, other in zip(actual, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-30)


@pytest.mark.parametrize("k", (1, 2, 5, 40))
@pytest.mark.parametrize("seed", range(6))
def test_against_loops(seed, k):
    _check(_random_train(seed, num_users=23, num_items=[3, 9, 30][seed % 3], density=[0.1, 0.3, 0.7][seed % 3]), k)


@pytest.mark.parametrize("products", (1, 7, 60, 1000))
@pytest.mark.parametrize("seed", range(4))
def test_blocks_do_not_show(monkeypatch, seed, products):
    """A long-tailed item makes the blocks of very different length; one user alone may exceed the bound."""
    train = _long_tailed_train(seed, num_users=31, num_items=12)
    monkeypatch.setattr(co_occurrence, "PRODUCTS_PER_BLOCK", products)
    blocks = list(co_occurrence._blocks(train, np.diff(train.T.tocsr().indptr)))
    assert [stop for _, stop in blocks[:-1]] == [start for start, _ in blocks[1:]], "the blocks cover all users once"
    assert blocks[0][0] == 0 and blocks[-1][1] == 31 and len(blocks) > 1
    _check(train, 4)


def test_blocks_keep_their_bound(monkeypatch):
    monkeypatch.setattr(co_occurrence, "PRODUCTS_PER_BLOCK", 2000)
    train = _long_tailed_train(0, num_users=200, num_items=20)
    degrees = np.diff(train.T.tocsr().indptr)
    cost = np.array([degrees[row.indices].sum() for row in train])
    for start, stop in co_occurrence._blocks(train, degrees):
        assert cost[start:stop].sum() <= 2000 or stop == start + 1


def test_ties_by_ascending_user():
    train = scipy.sparse.csr_matrix(np.ones((6, 2), dtype=np.float32))
    rows = [sorted(row) for row in _rows_of(co_occurrence_graph(train, 2))]
    assert rows == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]


def test_users_alone_have_empty_rows():
    """User 1 has no item, user 2 one that nobody else has."""
    train = scipy.sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]], dtype=np.float32))
    assert _rows_of(co_occurrence_graph(train, 3)) == [{3: 1.0}, {}, {}, {0: 1.0}]


def test_nobody_shares_anything():
    graph = co_occurrence_graph(scipy.sparse.identity(5, dtype=np.float32, format="csr"), 3)
    assert graph.num_edges == 0 and graph.shape == (5, 5)


def test_no_interactions():
    assert co_occurrence_graph(scipy.sparse.csr_matrix((4, 3), dtype=np.float32), 3).num_edges == 0


def test_large_counts_do_not_overflow():
    """exp(count) alone would be infinite."""
    train = scipy.sparse.csr_matrix(np.ones((3, 2000), dtype=np.float32))
    assert all(row == pytest.approx(dict.fromkeys(row, 0.5)) for row in _rows_of(co_occurrence_graph(train, 2)))


def test_input_stays_as_it_was():
    train = _random_train(0, 15, 8, 0.4)
    before = train.copy()
    co_occurrence_graph(train, 3)
    assert (before != train).nnz == 0 and np.array_equal(before.indices, train.indices)


def test_many_users_in_little_memory(monkeypatch):
    """200,000 users: a dense U x U matrix of bits would take 5 GB, of floats 160 GB."""
    monkeypatch.setattr(co_occurrence, "PRODUCTS_PER_BLOCK", 1_000_000)
    num_users, num_items, count = 200_000, 1_000, 100_000
    rng = np.random.default_rng(0)
    users, items = rng.integers(num_users, size=count), rng.integers(num_items, size=count)
    train = scipy.sparse.csr_matrix((np.ones(count, dtype=np.float32), (users, items)), (num_users, num_items))
    train.data[:] = 1
    tracemalloc.start()
    try:
        graph = co_occurrence_graph(train, 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300e6
    assert graph.shape == (num_users, num_users) and 0 < graph.num_edges <= 10 * num_users
    for user in rng.choice(np.unique(users), 20).tolist():
        common = (train @ train[user].T).toarray().ravel()
        common[user] = 0
        expected = np.lexsort((np.arange(num_users), -common))[:10]
        columns = graph.columns[graph.rowptr[user] : graph.rowptr[user + 1]].tolist()
        assert sorted(columns) == sorted(expected[common[expected] > 0].tolist())
