"""Ids that content lets through, on item graphs and to users, and the losses of both (MGCN, SMORE)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..kernels import CSRGraph, bpr, normalize_rows, spmm
from .contrast import InfoNCE


class LossOptions(Protocol):
    """What :func:`view_losses` is told."""

    @property
    def cl_loss(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def reg_weight(self) -> float: ...


def content_views(items: Tensor, item_item: CSRGraph, from_items: CSRGraph, layers: int) -> Tensor:
    """(U + I, V, d) what V views (I, V, d) of the items give to all nodes: items over ``layers``, then users.

    Args:
        item_item: (I * V, I * V), row ``i * V + v`` view v of item i.
        from_items: (U, I).
    """
    shape, items = items.shape, items.flatten(0, 1)
    for _ in range(layers):
        items = spmm(item_item, items)
    items = items.view(shape[0], -1)  # (I, V * d)
    return torch.cat([spmm(from_items, items), items]).unflatten(1, shape[1:])


def view_losses(behaviour: Tensor, side: Tensor, options: LossOptions) -> Tensor:
    """(3,) BPR of a batch, the contrast of what is added to behaviour with it, and half the squared norms of a triple.

    Args:
        behaviour, side: (3 B, d) of the users, the positives and the negatives; their sums are the embeddings.
    """
    rows, count = behaviour + side, len(behaviour) // 3
    triple = torch.arange(3 * count, device=rows.device).tensor_split(3)
    losses = bpr(rows[:, None], rows[:, None], *triple)
    queries, keys = (normalize_rows(part[: 2 * count]).tensor_split(2) for part in (side, behaviour))
    contrast = torch.stack([InfoNCE.apply(*pair, options.temperature) for pair in zip(queries, keys)]).sum()
    regulariser = rows.square().sum() / (2 * max(count, 1))
    return torch.stack([losses[0], options.cl_loss * contrast, options.reg_weight * regulariser])
