"""How alike items are by who has them: the item-item graph that graph filters smooth (Turbo-CF, MM-GF)."""

from __future__ import annotations

import numpy as np
import scipy.sparse

from ..kernels import CSRGraph


def item_similarity_graph(train: scipy.sparse.csr_matrix, alpha: float, power: float) -> CSRGraph:
    """P = (R~^T R~)^s with R~ = D_U^-alpha R D_I^(alpha - 1), the power taken number by number (Turbo-CF, eqs. 3 to 5).

    Args:
        train: R, (U, I), a one for each training interaction.
        alpha: how much a user with many items counts less; 1 - alpha is for items with many users.
        power: s, below 1 brings the weights of edges closer together.

    Returns:
        (I, I), symmetric, float32; an item that nobody has keeps an empty row.
    """
    of_users, of_items = (np.maximum(train.getnnz(axis), 1).astype(np.float64) for axis in (1, 0))
    scaled = (
        scipy.sparse.diags(of_users**-alpha) @ train.astype(np.float64) @ scipy.sparse.diags(of_items ** (alpha - 1))
    )
    similar = (scaled.T @ scaled).tocsr()
    similar.data **= power
    return CSRGraph.from_scipy(similar.astype(np.float32), symmetric=True)
