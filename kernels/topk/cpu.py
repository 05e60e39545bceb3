"""CPU path of topk: a block of users at a time, ties settled afterwards."""

from __future__ import annotations

import torch
from torch import Tensor

from ..csr import CSRGraph

USERS_PER_BLOCK = 256


def _mask_seen(scores: Tensor, users: Tensor, seen: CSRGraph) -> None:
    """Set the scores of each user's seen items to -inf."""
    start = seen.rowptr[users].long()
    counts = seen.rowptr[users + 1].long() - start
    rows = torch.arange(users.numel(), device=users.device).repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    edges = torch.arange(rows.numel(), device=users.device) + (start - first)[rows]
    scores[rows, seen.columns[edges].long()] = float("-inf")


def _select(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, equal scores by ascending item; PyTorch's own top-k leaves their order open."""
    wanted = min(k + 1, scores.shape[1])
    values, items = torch.topk(scores, wanted, dim=1)
    tied = torch.nonzero((values[:, 1:] == values[:, :-1]).any(1)).flatten()
    if tied.numel():
        sorted_values, order = torch.sort(scores[tied], dim=1, descending=True, stable=True)
        values[tied], items[tied] = sorted_values[:, :wanted], order[:, :wanted]
    return values[:, :k], items[:, :k]


def topk_torch(
    user_vectors: Tensor, item_vectors: Tensor, users: Tensor, k: int, seen: CSRGraph | None
) -> tuple[Tensor, Tensor]:
    scores = user_vectors.new_empty(users.numel(), k)
    items = torch.empty(users.numel(), k, dtype=torch.int64, device=users.device)
    item_columns = item_vectors.T
    for start in range(0, users.numel(), USERS_PER_BLOCK):
        rows = slice(start, start + USERS_PER_BLOCK)
        block = user_vectors[users[rows]] @ item_columns
        if seen is not None:
            _mask_seen(block, users[rows], seen)
        scores[rows], items[rows] = _select(block, k)
    return scores, items.masked_fill_(scores == float("-inf"), -1)
