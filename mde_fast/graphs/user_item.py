"""The bipartite graph of equation 2, and what else it is normalised to."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from ..kernels import CSRGraph


def user_item_graph(train: scipy.sparse.csr_matrix) -> CSRGraph:
    """A = [[0, R], [R^T, 0]], (U + I, U + I); its normalisation follows from the degrees (eq. 2).

    Args:
        train: R, (U, I), a one for each training interaction.
    """
    return CSRGraph.from_scipy(_adjacency(train), constant=1.0, symmetric=True)


def random_walk_graph(train: scipy.sparse.csr_matrix) -> CSRGraph:
    """D^-1 (A + 1), D the sums of its rows: a node hears from itself as from each of its neighbours (LATTICE).

    Args:
        train: R, (U, I), a one for each training interaction.

    Returns:
        (U + I, U + I), users first; its values are not symmetric.
    """
    adjacency = (_adjacency(train) + scipy.sparse.identity(sum(train.shape), format="csr")).tocsr()
    adjacency.data = np.repeat(1 / np.diff(adjacency.indptr), np.diff(adjacency.indptr)).astype(np.float32)
    return CSRGraph.from_scipy(adjacency)


def normalised_interactions(train: scipy.sparse.csr_matrix) -> CSRGraph:
    """D_U^-1/2 R D_I^-1/2, (U, I): what users hear from items in eq. 2 (MGCN, SMORE)."""
    of_users, of_items = (np.maximum(train.getnnz(axis), 1) ** -0.5 for axis in (1, 0))
    return CSRGraph.from_scipy((scipy.sparse.diags(of_users) @ train @ scipy.sparse.diags(of_items)).astype(np.float32))


def _adjacency(train: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """A, (U + I, U + I), users first."""
    return scipy.sparse.bmat([[None, train], [train.T, None]], format="csr")
