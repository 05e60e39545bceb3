"""Ground truth of topk: the whole score matrix, sorted."""

import torch
from torch import Tensor

from ..csr import CSRGraph


def topk_reference(
    user_vectors: Tensor, item_vectors: Tensor, users: Tensor, k: int, seen: CSRGraph | None
) -> tuple[Tensor, Tensor]:
    scores = user_vectors[users] @ item_vectors.T
    if seen is not None:
        for row, user in enumerate(users.tolist()):
            start, stop = int(seen.rowptr[user]), int(seen.rowptr[user + 1])
            scores[row, seen.columns[start:stop].long()] = float("-inf")
    scores, items = torch.sort(scores, dim=1, descending=True, stable=True)
    scores, items = scores[:, :k], items[:, :k]
    return scores, items.masked_fill(scores == float("-inf"), -1)
