"""Ground truth of bpr: equations 5, 9 and 10 on the batch's rows, as they are written."""

import torch
from torch import Tensor
from torch.nn import functional as F


def _fuse(h: Tensor, preference_logits: Tensor | None, fusion: str) -> Tensor:
    """Eq. 5: (B, M, D) -> (B, M * D) or (B, D)."""
    if preference_logits is not None:
        h = torch.softmax(preference_logits, dim=1)[:, :, None] * h
    return h.flatten(1) if fusion == "concat" else h.sum(1)


def _bpr_loss(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    difference = (user * positive).sum(1) - (user * negative).sum(1)
    return -F.logsigmoid(difference).sum() / max(user.shape[0], 1)


def bpr_reference(
    h_users: Tensor,
    h_items: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    user_logits: Tensor | None,
    item_logits: Tensor | None,
    fusion: str,
) -> Tensor:
    rows = h_users[users], h_items[positives], h_items[negatives]
    logits = [
        None if table is None else table[ids]
        for table, ids in ((user_logits, users), (item_logits, positives), (item_logits, negatives))
    ]
    losses = [_bpr_loss(*(_fuse(row, logit, fusion) for row, logit in zip(rows, logits)))]
    for modality in range(h_users.shape[1]):
        losses.append(_bpr_loss(*(row[:, modality] for row in rows)))
    return torch.stack(losses)
