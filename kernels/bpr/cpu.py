"""CPU path of bpr: one gather per table, every score from the same inner products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def _gather(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table. ``embedding`` adds the gradient up row by row in a fixed order, many times faster than indexing."""
    return F.embedding(ids, table.flatten(1)).unflatten(1, table.shape[1:])


def _preferences(logits: Tensor | None, ids: Tensor, like: Tensor) -> Tensor:
    """(B, M) softmax of the batch's rows; ones where there are no preferences."""
    if logits is None:
        return like.new_ones(ids.shape[0], like.shape[1])
    return torch.softmax(F.embedding(ids, logits), dim=1)


def bpr_torch(
    h_users: Tensor,
    h_items: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    user_logits: Tensor | None,
    item_logits: Tensor | None,
    user_table: Tensor | None,
    fusion: str,
) -> tuple[Tensor, Tensor]:
    batch = users.shape[0]
    items = torch.cat([positives, negatives])
    user = _gather(h_users, users)
    positive, negative = _gather(h_items, items).tensor_split(2)
    weight = _preferences(user_logits, users, h_users)
    positive_weight, negative_weight = _preferences(item_logits, items, h_items).tensor_split(2)

    # <H_m,u, H_m,i> for each modality: with both preferences it adds up to the fused score, alone it is eq. 10's.
    positive_scores, negative_scores = (user * positive).sum(2), (user * negative).sum(2)
    if fusion == "concat":
        fused = (weight * (positive_weight * positive_scores - negative_weight * negative_scores)).sum(1)
    else:
        fused_user = (weight[:, :, None] * user).sum(1)
        fused_item = (positive_weight[:, :, None] * positive - negative_weight[:, :, None] * negative).sum(1)
        fused = (fused_user * fused_item).sum(1)
    differences = torch.cat([fused[:, None], positive_scores - negative_scores], dim=1)
    losses = -F.logsigmoid(differences).sum(0) / max(batch, 1)

    regulariser = h_users.new_zeros(())
    if user_table is not None and batch > 0:
        regulariser = _gather(user_table, users).square().sum() / (batch * user_table.shape[2])
    return losses, regulariser
