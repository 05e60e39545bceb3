"""Numbers, widths and graphs to try an operator on."""

from __future__ import annotations

import numpy as np
import torch

from mde_fast.kernels import CSRGraph

WIDTHS = (1, 3, 17, 64, 100, 128, 200)
DTYPES = (torch.float32, torch.float64)
HALF_DTYPES = (torch.float16, torch.bfloat16)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> torch.Tensor:
    """Standard normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def random_ids(count: int, limit: int, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    """(count,) row numbers below ``limit``, repeats included."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(max(limit, 1), (count,), generator=generator).to(device)


def csr(rows, columns, shape, *, index=torch.int32, values=None, constant=1.0, symmetric=False) -> CSRGraph:
    """A graph of the edges (rows[e], columns[e]); within a row they keep the order they are given in."""
    rows, columns = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    rowptr = np.concatenate([[0], np.bincount(rows, minlength=shape[0]).cumsum()])
    return CSRGraph(
        rowptr=torch.from_numpy(rowptr).to(index),
        columns=torch.from_numpy(columns[order]).to(index),
        shape=shape,
        values=None if values is None else torch.as_tensor(values)[torch.from_numpy(order)],
        constant=constant,
        symmetric=symmetric,
    )


def _distinct_edges(num_rows: int, num_columns: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    picked = np.random.default_rng(seed).choice(num_rows * num_columns, count, replace=False)
    return np.divmod(np.sort(picked), num_columns)


def user_item(num_users: int, num_items: int, users, items, index=torch.int32) -> CSRGraph:
    """[[0, R], [R^T, 0]] of eq. 2."""
    users, items = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64) + num_users
    size = num_users + num_items
    return csr([*users, *items], [*items, *users], (size, size), index=index, symmetric=True)


def _hub(num_users: int, num_items: int) -> CSRGraph:
    """User 0 has every item, each other user one."""
    others = np.arange(1, num_users)
    users = np.concatenate([np.zeros(num_items, dtype=np.int64), others])
    return user_item(num_users, num_items, users, np.concatenate([np.arange(num_items), others % num_items]))


SYMMETRIC_GRAPHS = {
    "no nodes": lambda: user_item(0, 0, [], []),
    "no edges": lambda: user_item(3, 2, [], []),
    "one edge": lambda: user_item(1, 1, [0], [0]),
    "tiny": lambda: user_item(3, 3, [0, 0, 2], [0, 2, 2]),
    "small": lambda: user_item(7, 5, *_distinct_edges(7, 5, 16, seed=1)),
    "64-bit indices": lambda: user_item(7, 5, *_distinct_edges(7, 5, 16, seed=2), index=torch.int64),
    "isolated nodes": lambda: user_item(9, 8, [1, 1, 4, 7], [0, 3, 3, 6]),
    "hub": lambda: _hub(12, 150),
    "large": lambda: user_item(2000, 1200, *_distinct_edges(2000, 1200, 15000, seed=3)),
    "large hub": lambda: _hub(600, 3000),
}


def _asymmetric(num_rows: int, num_columns: int, count: int, seed: int, **options) -> CSRGraph:
    return csr(*_distinct_edges(num_rows, num_columns, count, seed), (num_rows, num_columns), **options)


def _valued(num_rows: int, num_columns: int, count: int, seed: int) -> CSRGraph:
    return _asymmetric(num_rows, num_columns, count, seed, values=random(count, seed=seed + 100))


GRAPHS = {
    "0 x 0": lambda: csr([], [], (0, 0)),
    "0 x 4": lambda: csr([], [], (0, 4)),
    "4 x 0": lambda: csr([], [], (4, 0)),
    "no edges": lambda: csr([], [], (5, 3)),
    "square": lambda: _asymmetric(6, 6, 13, seed=1, constant=0.1),
    "square with values": lambda: _valued(6, 6, 13, seed=2),
    "tall": lambda: _valued(19, 4, 30, seed=3),
    "wide": lambda: _valued(4, 19, 30, seed=4),
    "64-bit indices": lambda: _asymmetric(6, 8, 13, seed=5, index=torch.int64),
    "empty rows and columns": lambda: csr([1, 1, 5], [0, 4, 4], (8, 7), values=random(3, seed=6)),
    "hub row": lambda: csr([2] * 150 + [0, 4], [*range(150), 7, 7], (5, 150), values=random(152, seed=7)),
    "hub column": lambda: csr([*range(150), 7, 7], [2] * 150 + [0, 4], (150, 5), values=random(152, seed=8)),
    "repeated edges": lambda: csr([0, 0, 0, 2, 2], [1, 1, 2, 3, 3], (3, 4), values=random(5, seed=9)),
    "columns out of order": lambda: csr([0, 0, 0, 1, 2, 2], [3, 0, 2, 1, 2, 0], (3, 4), values=random(6, seed=10)),
    "symmetric": SYMMETRIC_GRAPHS["small"],
    "symmetric, columns out of order": lambda: csr(
        [0, 0, 0, 1, 1, 2, 2], [2, 0, 1, 2, 0, 1, 0], (3, 3), constant=0.5, symmetric=True
    ),
    "large": lambda: _valued(2500, 1800, 20000, seed=11),
}


def dense(graph: CSRGraph) -> torch.Tensor:
    """The graph as a float64 matrix, edge by edge."""
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    values = [graph.constant] * graph.num_edges if graph.values is None else graph.values.tolist()
    for row in range(graph.shape[0]):
        for edge in range(int(graph.rowptr[row]), int(graph.rowptr[row + 1])):
            matrix[row, int(graph.columns[edge])] += values[edge]
    return matrix
