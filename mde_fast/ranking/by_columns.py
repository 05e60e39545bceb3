"""Rankings where each process has some columns of all embeddings: users are divided, items come to all in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import CSRGraph, topk
from ..world import World
from .subgraph import columns_of, rows_of

NUMBERS_PER_BLOCK = 2**26  # of items' embeddings that a process holds beside its users': 256 MiB in float32


def rank_by_columns(
    world: World, user_columns: Tensor, item_columns: Tensor, users: Tensor, k: int, seen: CSRGraph
) -> Tensor:
    """(B / P, min(k, I)) items for this process's share of the users, best first; -1 where fewer are left.

    Args:
        user_columns, item_columns: (U, E / P) and (I, E / P), this process's columns.
        users: (B,) rows to rank for, the same on all processes.
        k: 1 or more.
        seen: (U, I) items never to rank.
    """
    vectors = world.rows_of_columns(user_columns[users])  # (B / P, E)
    own = rows_of(seen, users[world.rows(len(users))])
    assert own is not None
    num_items = item_columns.shape[0]
    step = max(k, NUMBERS_PER_BLOCK // max(vectors.shape[1], 1))
    scores, items = vectors.new_empty(len(vectors), 0), users.new_empty(len(vectors), 0)
    for start in range(0, num_items, step):
        block = torch.arange(start, min(start + step, num_items), device=users.device)
        seen_here = own if len(block) == num_items else columns_of(own, block)
        found = topk(vectors, world.all_columns(item_columns[start : start + step]), k, seen=seen_here)
        # Ahead of the block are items of smaller numbers, which come first where scores are equal.
        scores, items = torch.cat([scores, found[0]], 1), torch.cat([items, _numbered(found[1], start)], 1)
        scores, order = torch.sort(scores, dim=1, descending=True, stable=True)
        scores, items = scores[:, :k], items.gather(1, order[:, :k])
    return items


def _numbered(items: Tensor, start: int) -> Tensor:
    return torch.where(items < 0, items, items + start)
