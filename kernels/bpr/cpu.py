"""CPU path of bpr: one gather per table in each direction, every score from the same inner products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..support import accumulation_dtype, scatter_rows
from .operands import Operands


def _gather(table: Tensor, ids: Tensor) -> Tensor:
    return table.index_select(0, ids).to(accumulation_dtype(table.dtype))


def _preferences(logits: Tensor | None, ids: Tensor, like: Tensor) -> Tensor:
    """(B, M) softmax of the batch's rows; ones where there are no preferences."""
    if logits is None:
        return like.new_ones(ids.shape[0], like.shape[1])
    # Over the rows of the transpose it is vectorised: several times faster than over rows of two or three numbers.
    return torch.softmax(_gather(logits, ids).T.contiguous(), dim=0).T


def _logit_gradient(preference: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a softmax's inputs from that of its outputs, (B, M) each."""
    weighted = preference * gradient
    return weighted - preference * weighted.sum(1, keepdim=True)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)


def _scaled(weight: Tensor, rows: Tensor) -> Tensor:
    """(B, M) times (B, M, D)."""
    return weight[:, :, None] * rows


def bpr_forward_cpu(*operands) -> tuple[Tensor, Tensor]:
    h_users, h_items, users, positives, negatives, user_logits, item_logits, fusion = Operands(*operands)
    batch = users.shape[0]
    user, positive, negative = _gather(h_users, users), _gather(h_items, positives), _gather(h_items, negatives)
    user_weight = _preferences(user_logits, users, user)
    positive_weight = _preferences(item_logits, positives, user)
    negative_weight = _preferences(item_logits, negatives, user)

    # <H_m,u, H_m,i> for each modality: with both preferences it adds up to the fused score, alone it is eq. 10's.
    positive_score, negative_score = _dot(user, positive), _dot(user, negative)
    if fusion == "concat":
        fused = _dot(user_weight, positive_weight * positive_score - negative_weight * negative_score)
    else:
        fused_items = _scaled(positive_weight, positive) - _scaled(negative_weight, negative)
        fused = _dot(_scaled(user_weight, user).sum(1), fused_items.sum(1))
    differences = torch.cat([fused[:, None], positive_score - negative_score], dim=1)
    losses = -F.logsigmoid(differences).sum(0) / max(batch, 1)
    return losses.to(h_users.dtype), torch.sigmoid(-differences)


def bpr_backward_cpu(grad_losses: Tensor, slopes: Tensor, *operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    h_users, h_items, users, positives, negatives, user_logits, item_logits, fusion = Operands(*operands)
    items = torch.cat([positives, negatives])
    user, positive, negative = _gather(h_users, users), _gather(h_items, positives), _gather(h_items, negatives)
    user_weight, item_weight = _preferences(user_logits, users, user), _preferences(item_logits, items, user)
    positive_weight, negative_weight = item_weight.tensor_split(2)
    slopes = slopes * grad_losses / -max(users.shape[0], 1)

    grad_user, grad_user_weight = torch.zeros_like(user), torch.zeros_like(user_weight)
    grad_items, grad_item_weights = [], []
    # The negative's scores enter the differences with a minus.
    for item, weight, slope in ((positive, positive_weight, slopes), (negative, negative_weight, -slopes)):
        fused, modality = slope[:, :1], slope[:, 1:]
        if fusion == "concat":
            score, grad_score = _dot(user, item), fused * user_weight * weight + modality
            grad_user.addcmul_(grad_score[:, :, None], item)
            grad_items.append(_scaled(grad_score, user))
            grad_user_weight += fused * weight * score
            grad_item_weights.append(fused * user_weight * score)
        else:
            fused_user = _scaled(user_weight, user).sum(1, keepdim=True)
            fused_item = _scaled(weight, item).sum(1, keepdim=True)
            grad_user += _scaled(fused * user_weight, fused_item) + _scaled(modality, item)
            grad_items.append(_scaled(fused * weight, fused_user) + _scaled(modality, user))
            grad_user_weight += fused * _dot(user, fused_item)
            grad_item_weights.append(fused * _dot(item, fused_user))

    grad_user_logits = grad_item_logits = None
    if user_logits is not None:
        grad_user_logits = scatter_rows(_logit_gradient(user_weight, grad_user_weight), users, user_logits)
    if item_logits is not None:
        grad_logits = _logit_gradient(item_weight, torch.cat(grad_item_weights))
        grad_item_logits = scatter_rows(grad_logits, items, item_logits)
    return (
        scatter_rows(grad_user, users, h_users),
        scatter_rows(torch.cat(grad_items), items, h_items),
        h_users.new_empty(0) if grad_user_logits is None else grad_user_logits,
        h_users.new_empty(0) if grad_item_logits is None else grad_item_logits,
    )
