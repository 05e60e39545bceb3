"""The table of users' neighbours, and how its empty places are filled."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from mde_fast.graphs.co_occurrence import co_occurrence_graph
from mde_fast.kernels import CSRGraph, spmm
from mde_fast.nn.user_neighbours import UserNeighbours


def _train(seed: int = 0, num_users: int = 30, num_items: int = 40, density: float = 0.06) -> scipy.sparse.csr_matrix:
    chosen = np.random.default_rng(seed).random((num_users, num_items)) < density
    chosen[3] = False  # shares nothing with anybody
    return scipy.sparse.csr_matrix(chosen.astype(np.float32))


@pytest.mark.parametrize("k", [1, 4, 25])
def test_it_is_the_graph_with_its_residual(k):
    graph = co_occurrence_graph(_train(), k)
    h = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    table = UserNeighbours(graph, k, filled=False)
    expected = spmm(graph, h, residual=h)
    users = torch.tensor([3, 0, 7, 7, 29])
    torch.testing.assert_close(table.all_users(h), expected)
    torch.testing.assert_close(table(h, users), expected[users])
    assert torch.equal(table(h, users)[0], h[3]), "who shares nothing hears nothing"


def test_empty_places_get_copies_of_the_user_s_own_neighbours():
    train, k = _train(), 6
    graph = co_occurrence_graph(train, k)
    table = UserNeighbours(graph, k, filled=True)
    before = table.all_users(torch.eye(30))
    addresses = table.epoch_neighbours.data_ptr(), table.epoch_weights.data_ptr()
    table.refill(torch.Generator().manual_seed(0))
    assert (table.epoch_neighbours.data_ptr(), table.epoch_weights.data_ptr()) == addresses
    common, degrees = (train @ train.T).toarray(), graph.degrees().tolist()
    assert 0 < min(degree for degree in degrees if degree) < k <= max(degrees) and 0 in degrees
    for user, degree in enumerate(degrees):
        own = graph.columns[graph.rowptr[user] : graph.rowptr[user + 1]].tolist()
        places, weights = table.epoch_neighbours[user].tolist(), table.epoch_weights[user]
        if degree == 0:
            assert not weights.any()
            continue
        assert places[:degree] == own and set(places) == set(own)
        counts = torch.from_numpy(common[user, places]).double()
        torch.testing.assert_close(weights.double(), torch.softmax(counts, 0), rtol=1e-5, atol=1e-7)
    assert torch.equal(table.all_users(torch.eye(30)), before), "ranking is without"


def test_the_generator_decides():
    table = UserNeighbours(co_occurrence_graph(_train(), 6), 12, filled=True)
    drawn = []
    for seed in (1, 1, 2):
        table.refill(torch.Generator().manual_seed(seed))
        drawn.append(table.epoch_neighbours.clone())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


def test_the_list_grows_as_it_is_drawn_from():
    """An urn: two neighbours for five places leave 1 to 4 places to the first, each number equally often.

    Draws from the two neighbours alone would leave it 2 or 3 three times as often as 1 or 4.
    """
    num_users, k = 6000, 5
    rows = torch.arange(num_users).repeat_interleave(2)
    columns = torch.tensor([0, 1]).repeat(num_users)
    graph = CSRGraph.from_edges(rows, columns, (num_users, num_users), torch.full((2 * num_users,), 0.5))
    table = UserNeighbours(graph, k, filled=True)
    table.refill(torch.Generator().manual_seed(0))
    times = torch.bincount((table.epoch_neighbours == 0).sum(1), minlength=k + 1).tolist()
    assert times[0] == times[k] == 0
    for number in times[1:k]:
        assert abs(number - num_users / 4) < 5 * (num_users * 3 / 16) ** 0.5, times
