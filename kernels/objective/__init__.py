"""The whole objective of the model, equation 11, in one pass over H in each direction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..bpr import FUSIONS
from ..dispatch import use_reference
from ..node_losses import MDA_FORMS, MSA_FORMS
from .operands import Operands, by_kind
from .primitives import objective_backward, objective_forward
from .reference import objective_reference

__all__ = ["by_kind", "objective"]


class ObjectiveFunction(torch.autograd.Function):
    """Its inputs are :class:`Operands`. Gradients of H are made by one loss and added to by the other, in place."""

    @staticmethod
    def forward(ctx, *operands) -> Tensor:
        parts, slopes, statistics = objective_forward(*operands)
        tensors, ctx.options = operands[:11], operands[11:]
        ctx.learns = ctx.needs_input_grad[9:11]
        ctx.save_for_backward(slopes, *statistics, *tensors)
        return parts

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        slopes, *saved = ctx.saved_tensors
        statistics, tensors = saved[:10], saved[10:]
        h_users, h_items, norms, *logits_and_trades = objective_backward(
            grad, slopes, statistics, *ctx.learns, *tensors, *ctx.options
        )
        gradients = h_users, h_items, norms, None, None, None, None, *logits_and_trades
        kept = (gradient if needed else None for gradient, needed in zip(gradients, ctx.needs_input_grad))
        return *kept, *(None for _ in ctx.options)


def objective(
    h_users: Tensor,
    h_items: Tensor,
    norms: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    *,
    user_logits: Tensor,
    item_logits: Tensor,
    user_trade: Tensor | None = None,
    item_trade: Tensor | None = None,
    detach: bool = True,
    fuse_items: bool = True,
    shrink: bool = True,
    fusion: str = "concat",
    mda: str = "row_l2",
    msa: str = "cosine",
) -> Tensor:
    """The addends of the model's objective, each with its coefficient (paper, eq. 11).

    The same as :func:`mde_fast.kernels.bpr`, two times :func:`mde_fast.kernels.node_losses` and the regulariser

        mean over the batch's users u of ||E_u||^2 / D, added up over modalities, + mean of W^2

    each for itself; a GPU launches a third of the kernels and writes no second gradient of H.

    Args:
        h_users: (U, M, D). h_items: (I, M, D). M >= 2.
        norms: (N, M), N >= U: of the rows E of the user table, in float32 (float64 for float64), such as
            :func:`mde_fast.kernels.normalize_rows_with_norms` returns them. Rows beyond U are not read.
        users, positives, negatives: (B,) int32 or int64 rows; a triple (u, i, j) ranks i above j for u.
        weights: (M + 4,) coefficients of the result's addends, floating point; they get no gradient.
        user_logits: (U, M) preferences W of eq. 5. item_logits: (I, M).
        user_trade, item_trade: what w_dif of eq. 8 comes from: (U, M) and (I, M) preference logits, usually W again, or
            (U,) and (I,) free logits, or None for 1/2.
        detach: keep MDA and MSA from moving preference logits; free logits always learn.
        fuse_items: item_logits enter the fusion of eq. 5; if not, items' modalities have weights of 1 there.
        shrink: W is in the regulariser.
        fusion: ``concat`` or ``sum`` over modalities.
        mda, msa: forms of :func:`mde_fast.kernels.node_losses`.

    Returns:
        (M + 4,) in the type of weights: BPR of the fused embeddings, of each modality, MDA, MSA (users and items added
        up), the regulariser.

    Raises:
        ValueError: shapes that do not match, or an unknown form.
        TypeError: weights that are no floating point.
    """
    if h_users.ndim != 3 or h_items.ndim != 3 or h_users.shape[1:] != h_items.shape[1:] or h_users.shape[1] < 2:
        raise ValueError(
            f"h_users {tuple(h_users.shape)} and h_items {tuple(h_items.shape)} must be (U, M, D) and (I, M, D), M >= 2"
        )
    num_users, modalities, _ = h_users.shape
    if not users.shape == positives.shape == negatives.shape or users.ndim != 1:
        raise ValueError(
            f"users {tuple(users.shape)}, positives {tuple(positives.shape)} and negatives {tuple(negatives.shape)} "
            "must be three vectors of one length"
        )
    if norms.ndim != 2 or norms.shape[0] < num_users or norms.shape[1] != modalities:
        raise ValueError(f"norms have shape {tuple(norms.shape)}, expected ({num_users} or more, {modalities})")
    if weights.shape != (modalities + 4,):
        raise ValueError(f"weights have shape {tuple(weights.shape)}, expected ({modalities + 4},)")
    if not weights.is_floating_point():
        raise TypeError(f"weights are {weights.dtype}, expected floating point: call weights.float()")
    for name, logits, h in (("user_logits", user_logits, h_users), ("item_logits", item_logits, h_items)):
        if logits.shape != h.shape[:2]:
            raise ValueError(f"{name} have shape {tuple(logits.shape)}, expected {tuple(h.shape[:2])}")
    for name, trade, h in (("user_trade", user_trade, h_users), ("item_trade", item_trade, h_items)):
        if trade is not None and trade.shape not in (h.shape[:2], h.shape[:1]):
            shapes = f"{tuple(h.shape[:2])} or {tuple(h.shape[:1])}"
            raise ValueError(f"{name} has shape {tuple(trade.shape)}, expected {shapes}")
    for name, value, known in (("fusion", fusion, FUSIONS), ("mda", mda, MDA_FORMS), ("msa", msa, MSA_FORMS)):
        if value not in known:
            raise ValueError(f"{name}={value!r}: choose from {', '.join(known)}")
    if detach:
        user_trade, item_trade = (
            trade.detach() if trade is not None and trade.ndim == 2 else trade for trade in (user_trade, item_trade)
        )
    operands = Operands(
        *(h_users, h_items, norms, users, positives, negatives, weights.detach()),
        *(user_logits, item_logits, user_trade, item_trade, fuse_items, shrink, fusion, mda, msa),
    )
    function = objective_reference if use_reference(h_users.device) else ObjectiveFunction.apply
    return function(*operands)
