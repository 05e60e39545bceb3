"""The pairwise ranking losses of a batch of triples, equations 5, 9 and 10."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .primitives import bpr_backward, bpr_forward
from .reference import bpr_reference

__all__ = ["FUSIONS", "bpr"]

FUSIONS = ("concat", "sum")


class BprFunction(torch.autograd.Function):
    """Keeps one number per triple and loss; the backward pass gathers the triples' rows again.

    Its inputs are those of :class:`mde_fast.kernels.bpr.operands.Operands`.
    """

    @staticmethod
    def forward(ctx, *operands) -> Tensor:
        *tensors, fusion = operands
        losses, slopes = bpr_forward(*operands)
        ctx.save_for_backward(slopes, *tensors)
        ctx.fusion = fusion
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_losses: Tensor):
        h_users, h_items, *optional = bpr_backward(grad_losses, *ctx.saved_tensors, ctx.fusion)
        gradients = h_users, h_items, None, None, None, *optional, None
        return tuple(gradient if needed else None for gradient, needed in zip(gradients, ctx.needs_input_grad))


def bpr(
    h_users: Tensor,
    h_items: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    user_logits: Tensor | None = None,
    item_logits: Tensor | None = None,
    fusion: str = "concat",
) -> Tensor:
    """BPR of the fused embeddings and of each modality, from one gather of the triples' rows (paper, eqs. 5, 9, 10).

    ``-mean log sigmoid(y_ui - y_uj)`` with y = <e_u, e_i>, where e concatenates (or sums) alpha_m * H_m over the
    modalities and alpha = softmax(logits); and the same with y = <H_m,u, H_m,i> for each modality m.

    Args:
        h_users: (U, M, D). h_items: (I, M, D).
        users, positives, negatives: (B,) int32 or int64 rows; a triple (u, i, j) ranks i above j for u.
        user_logits: (U, M) preferences of eq. 5, or None for weights of 1. item_logits: (I, M), likewise.
        fusion: ``concat`` or ``sum`` over modalities.

    Returns:
        (M + 1,): the fused loss first, then one per modality; 0 for B = 0.

    Raises:
        ValueError: shapes that do not match or an unknown fusion.
    """
    if h_users.ndim != 3 or h_items.ndim != 3 or h_users.shape[1:] != h_items.shape[1:]:
        raise ValueError(
            f"h_users {tuple(h_users.shape)} and h_items {tuple(h_items.shape)} must be (U, M, D) and (I, M, D)"
        )
    if not users.shape == positives.shape == negatives.shape or users.ndim != 1:
        raise ValueError(
            f"users {tuple(users.shape)}, positives {tuple(positives.shape)} and negatives {tuple(negatives.shape)} "
            "must be three vectors of one length"
        )
    for name, logits, h in (("user_logits", user_logits, h_users), ("item_logits", item_logits, h_items)):
        if logits is not None and logits.shape != h.shape[:2]:
            raise ValueError(f"{name} have shape {tuple(logits.shape)}, expected {tuple(h.shape[:2])}")
    if fusion not in FUSIONS:
        raise ValueError(f"fusion={fusion!r}: choose from {', '.join(FUSIONS)}")
    function = bpr_reference if use_reference(h_users.device) else BprFunction.apply
    return function(h_users, h_items, users, positives, negatives, user_logits, item_logits, fusion)
