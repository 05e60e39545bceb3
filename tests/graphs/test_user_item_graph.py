"""The bipartite graph of eq. 2 against its definition."""

import numpy as np
import pytest
import scipy.sparse

from mde_fast.graphs.user_item import user_item_graph


@pytest.mark.parametrize(
    "num_users, num_items, density", [(5, 3, 0.5), (3, 8, 0.3), (1, 1, 1.0), (4, 4, 0.0), (9, 2, 0.1)]
)
def test_against_loops(num_users, num_items, density):
    rng = np.random.default_rng(num_users)
    train = (rng.random((num_users, num_items)) < density).astype(np.float32)
    graph = user_item_graph(scipy.sparse.csr_matrix(train))
    edges = set(zip(graph.rows().tolist(), graph.columns.tolist()))
    expected = set()
    for user in range(num_users):
        for item in range(num_items):
            if train[user, item]:
                expected |= {(user, num_users + item), (num_users + item, user)}
    assert edges == expected and graph.num_edges == len(expected), "every edge once, and its reverse"
    assert graph.shape == (num_users + num_items,) * 2
    assert graph.symmetric and graph.values is None and graph.constant == 1.0


def test_normalised_values_follow_from_the_degrees():
    train = scipy.sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32))
    graph = user_item_graph(train)
    values = dict(zip(zip(graph.rows().tolist(), graph.columns.tolist()), graph.normalised_values().tolist()))
    assert values == pytest.approx(
        {(0, 3): 2**-0.5, (3, 0): 2**-0.5, (0, 4): 0.5, (4, 0): 0.5, (1, 4): 2**-0.5, (4, 1): 2**-0.5}
    )
