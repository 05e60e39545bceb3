"""The contrastive form of modality similarity alignment, equation 7."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..dispatch import use_reference
from .primitives import infonce_backward, infonce_forward
from .reference import infonce_reference

__all__ = ["infonce"]


class InfoNCEFunction(torch.autograd.Function):
    """Keeps the softmaxes' denominators; the backward pass makes the similarities again."""

    @staticmethod
    def forward(ctx, unit: Tensor, weight: Tensor, nodes: Tensor, temperature: float) -> Tensor:
        loss, per_node, logsumexp = infonce_forward(unit, weight, nodes, temperature)
        ctx.save_for_backward(unit, weight, nodes, per_node, logsumexp)
        ctx.temperature = temperature
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        unit, weight, nodes, per_node, logsumexp = ctx.saved_tensors
        grad_unit = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_unit = infonce_backward(grad, unit, weight, nodes, logsumexp, ctx.temperature)
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * per_node).to(weight.dtype)
        return grad_unit, grad_weight, None, None


def infonce(h: Tensor, *, weight: Tensor, nodes: Tensor, temperature: float = 0.2) -> Tensor:
    """In-batch InfoNCE between modalities, weighted node by node (paper, eq. 7; arrangement ours).

    For each pair of modalities (v, t): the mean over the batch of
    ``weight_n * (CE(v_n -> t) + CE(t_n -> v)) / 2`` where CE is the cross entropy of picking the node's own row among
    the batch's rows by cosine / temperature. Other rows of the same node are left out of its alternatives. The B x B
    similarities never exist as a whole.

    Args:
        h: (B, M, D) the batch's modality embeddings, not normalised.
        weight: (B,) w_sim of eq. 8.
        nodes: (B,) integer, which node each row is.
        temperature: tau > 0.

    Returns:
        A scalar; 0 for B = 0.

    Raises:
        ValueError: shapes that do not match or a temperature that is not positive.
    """
    if h.ndim != 3 or h.shape[1] < 2:
        raise ValueError(f"h has shape {tuple(h.shape)}, expected (B, M, D) with M >= 2 modalities")
    if weight.shape != h.shape[:1] or nodes.shape != h.shape[:1]:
        raise ValueError(f"weight {tuple(weight.shape)} and nodes {tuple(nodes.shape)} must both be ({h.shape[0]},)")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: must be positive")
    if use_reference(h.device):
        return infonce_reference(h, weight, nodes, temperature)
    return InfoNCEFunction.apply(F.normalize(h, dim=2), weight, nodes, temperature)
