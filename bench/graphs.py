"""The graphs that are measured: real ones where a data directory has them, synthetic ones of any size."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from mde_fast.data import load_dataset
from mde_fast.errors import InputError
from mde_fast.graphs.user_item import user_item_graph
from mde_fast.kernels import CSRGraph

REAL = ("baby", "clothing", "ifashion", "gowalla")


def real_graph(name: str, data_dir: str | None) -> CSRGraph | None:
    """The user-item graph of a dataset's training interactions, or None when it is not there."""
    try:
        dataset = load_dataset(name, data_dir=data_dir, use_features=False, require_real=True)
    except InputError:
        return None
    return user_item_graph(dataset.train_matrix)


def synthetic_graph(num_edges: int, seed: int = 0) -> CSRGraph:
    """A user-item graph with about this many directed edges, ten to a user, items long-tailed (Zipf)."""
    rng = np.random.default_rng(seed)
    num_users = max(num_edges // 20, 1)
    num_items = max(num_users // 3, 1)
    users = np.repeat(np.arange(num_users), 10)
    items = (num_items * rng.random(len(users)) ** 3).astype(np.int64)
    ones = np.ones(len(users), dtype=np.float32)
    matrix = scipy.sparse.csr_matrix((ones, (users, items)), shape=(num_users, num_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return user_item_graph(matrix)


def interactions(graph: CSRGraph) -> scipy.sparse.csr_matrix:
    """R back from [[0, R], [R^T, 0]]: its edges from a user to an item are those that go to a larger node."""
    rows, columns = graph.rows().cpu().numpy(), graph.columns.cpu().numpy()
    upper = rows < columns
    num_users = int(columns[upper].min())
    ones = np.ones(upper.sum(), dtype=np.float32)
    shape = (num_users, graph.shape[0] - num_users)
    return scipy.sparse.csr_matrix((ones, (rows[upper], columns[upper] - num_users)), shape=shape)
