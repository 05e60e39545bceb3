"""The user-user graph of equation 4: users who chose the same items."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from ..kernels import CSRGraph

PRODUCTS_PER_BLOCK = 20_000_000  # bounds a block's memory: about 12 bytes a product


def co_occurrence_graph(train: scipy.sparse.csr_matrix, k: int) -> CSRGraph:
    """Each user's k users with the most items in common, weighted by a softmax of those counts (eq. 4).

    Equal counts are ranked by ascending user. A user who shares no item with anybody has an empty row. The softmax
    runs over the neighbours that exist.

    Args:
        train: R, (U, I), a one for each training interaction.
        k: neighbours kept for a user, 1 or more.

    Returns:
        (U, U), not symmetric, float32 values that add up to 1 in each row that has any.
    """
    num_users = train.shape[0]
    item_users = train.T.tocsr()
    rows, columns, counts = [], [], []
    for start, stop in _blocks(train, np.diff(item_users.indptr)):
        block = (train[start:stop] @ item_users).tocoo()
        row, column, count = block.row.astype(np.int64), block.col.astype(np.int64), block.data.astype(np.int64)
        other = row + start != column
        row, column, count = _top_per_row(row[other], column[other], count[other], num_users, k)
        rows.append(row + start)
        columns.append(column)
        counts.append(count)
    row, column, count = (np.concatenate(part) for part in (rows, columns, counts))
    rowptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=num_users))])
    values = _softmax_per_row(count.astype(np.float64), row, rowptr)
    matrix = scipy.sparse.csr_matrix((values.astype(np.float32), column, rowptr), shape=(num_users, num_users))
    return CSRGraph.from_scipy(matrix)


def _blocks(train: scipy.sparse.csr_matrix, item_degrees: np.ndarray):
    """Ranges of users whose products R R^T cost about the same, however long-tailed the items are."""
    products = np.concatenate([[0], np.cumsum(item_degrees[train.indices], dtype=np.int64)])[train.indptr]
    start = 0
    while start < train.shape[0]:
        limit = products[start] + PRODUCTS_PER_BLOCK
        stop = max(start + 1, int(np.searchsorted(products, limit, side="right")) - 1)
        yield start, stop
        start = stop


def _top_per_row(row: np.ndarray, column: np.ndarray, count: np.ndarray, num_columns: int, k: int):
    """The k entries of each row with the largest count, equal counts by ascending column."""
    if len(row) == 0:
        return row, column, count
    # One integer sorts by row, then falling count, then rising column.
    span = int(count.max()) + 1
    key = (row * span + (span - 1 - count)) * num_columns + column
    key.sort()
    row, rest = np.divmod(key, span * num_columns)
    falling, column = np.divmod(rest, num_columns)
    first = np.searchsorted(row, row, side="left")
    kept = np.arange(len(row)) - first < k
    return row[kept], column[kept], span - 1 - falling[kept]


def _softmax_per_row(values: np.ndarray, row: np.ndarray, rowptr: np.ndarray) -> np.ndarray:
    if len(values) == 0:
        return values
    occupied = np.diff(rowptr) > 0
    starts = rowptr[:-1][occupied]
    place = np.cumsum(occupied) - 1
    exponent = np.exp(values - np.maximum.reduceat(values, starts)[place[row]])
    return exponent / np.add.reduceat(exponent, starts)[place[row]]
