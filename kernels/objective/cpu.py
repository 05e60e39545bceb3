"""CPU path of objective: the losses' own steps, whose gradients are added up where they are made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..bpr.primitives import bpr_backward, bpr_forward
from ..node_losses.primitives import node_losses_backward, node_losses_forward
from ..support import scatter_rows
from .operands import Operands, by_kind


def objective_forward_cpu(*operands) -> tuple[Tensor, Tensor, list[Tensor]]:
    given = Operands(*operands)
    (user_mda, user_msa, *user_statistics), (item_mda, item_msa, *item_statistics) = (
        node_losses_forward(*side, given.mda, given.msa) for side in given.sides()
    )
    ranking, slopes = bpr_forward(*given.of_bpr())
    embeddings, preferences = given.counts()
    regulariser = F.embedding(given.users, given.norms).square().sum() / embeddings
    if given.shrink:
        regulariser += (given.user_logits.square().sum() + given.item_logits.square().sum()) / preferences
    parts = given.weights.new_empty(
        given.weights.shape
    )  # filled in place, because autocast has an opinion on torch.cat
    parts[:-3], parts[-3], parts[-2], parts[-1] = ranking, user_mda + item_mda, user_msa + item_msa, regulariser
    return parts.mul_(given.weights), slopes, [*user_statistics, *item_statistics]


def objective_backward_cpu(
    grad: Tensor, slopes: Tensor, statistics: Sequence[Tensor], learns_users: bool, learns_items: bool, *operands
) -> list[Tensor]:
    given = Operands(*operands)
    upstream = grad * given.weights
    grad_regulariser = upstream[-1]
    upstream = upstream.to(given.h_users.dtype)
    grad_mda, grad_msa = upstream[-3], upstream[-2]
    # First, for its scratch is large.
    *grad_h, user_logits, item_logits = bpr_backward(upstream[:-3], slopes, *given.of_bpr())
    grad_trades = []
    for number, ((h, *_), trade, learns) in enumerate(
        zip(given.sides(), (given.user_trade, given.item_trade), (learns_users, learns_items))
    ):
        kept = statistics[5 * number : 5 * number + 5]
        logits = by_kind(trade if learns else None)
        grad_side, grad_trade = node_losses_backward(grad_mda, grad_msa, h, *logits, *kept, given.mda, given.msa)
        grad_h[number].add_(grad_side)
        grad_trades.append(grad_trade)
    embeddings, preferences = given.counts()
    grad_norms = scatter_rows(
        F.embedding(given.users, given.norms) * (2 / embeddings * grad_regulariser), given.users, given.norms
    )
    if not given.fuse_items:
        item_logits = torch.zeros_like(given.item_logits)
    if given.shrink:
        factor = 2 / preferences * grad_regulariser
        user_logits.add_(given.user_logits * factor)
        item_logits.add_(given.item_logits * factor)
    return [*grad_h, grad_norms, user_logits, item_logits, *grad_trades]
