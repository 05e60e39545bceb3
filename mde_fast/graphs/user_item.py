"""The bipartite graph of equation 2."""

from __future__ import annotations

import scipy.sparse

from ..kernels import CSRGraph


def user_item_graph(train: scipy.sparse.csr_matrix) -> CSRGraph:
    """A = [[0, R], [R^T, 0]], (U + I, U + I); its normalisation follows from the degrees (eq. 2).

    Args:
        train: R, (U, I), a one for each training interaction.
    """
    adjacency = scipy.sparse.bmat([[None, train], [train.T, None]], format="csr")
    return CSRGraph.from_scipy(adjacency, constant=1.0, symmetric=True)
