"""Modality difference amplification, similarity alignment and their node-level trade-off, equations 6 to 8."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .forms import MDA_FORMS, MSA_FORMS
from .primitives import node_losses_backward, node_losses_forward
from .reference import node_losses_reference
from .weights import difference_weight

__all__ = ["MDA_FORMS", "MSA_FORMS", "difference_weight", "node_losses"]


class NodeLossesFunction(torch.autograd.Function):
    """Both directions read h once; between them only scalars of each node are kept."""

    @staticmethod
    def forward(
        ctx, h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
    ) -> tuple[Tensor, Tensor]:
        mda_loss, msa_loss, *statistics = node_losses_forward(h, preference_logits, free_logits, mda, msa)
        _, learns_preference, learns_free, *_ = ctx.needs_input_grad
        preference_logits = preference_logits if learns_preference else None
        free_logits = free_logits if learns_free else None
        ctx.save_for_backward(h, preference_logits, free_logits, *statistics)
        ctx.forms = mda, msa
        return mda_loss, msa_loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mda: Tensor, grad_msa: Tensor):
        grad_h, grad_logits = node_losses_backward(grad_mda, grad_msa, *ctx.saved_tensors, *ctx.forms)
        _, learns_preference, learns_free, *_ = ctx.needs_input_grad
        return grad_h, grad_logits if learns_preference else None, grad_logits if learns_free else None, None, None


def node_losses(
    h: Tensor,
    *,
    preference_logits: Tensor | None = None,
    free_logits: Tensor | None = None,
    detach: bool = True,
    mda: str = "row_l2",
    msa: str = "cosine",
) -> tuple[Tensor, Tensor]:
    """MDA and MSA of one side (users or items), each weighted node by node (paper, eqs. 6, 7 and 8).

    The weight of the difference is w_dif = max_m alpha_m - min_m alpha_m with alpha = softmax(preference_logits), or
    sigmoid(free_logits), or 1/2 when neither is given; the weight of the similarity is 1 - w_dif. Over every pair of
    modalities (v, t), summed:

    ===========  ==========================================================
    mda          ``row_l2``  -mean_n w_dif,n ||H_v,n - H_t,n||_2
                 ``fro``     -||w_dif (H_v - H_t)||_F over the side
                 ``abs_cos`` +mean_n w_dif,n |cos(H_v,n, H_t,n)|
                 ``none``    0
    msa          ``cosine``  mean_n (1 - w_dif,n) (1 - cos(H_v,n, H_t,n))
                 ``none``    0
    ===========  ==========================================================

    The paper states the ingredients; the arrangement and the cosine are this project's choice.

    Args:
        h: (N, M, D) the nodes' modality embeddings, M >= 2.
        preference_logits: (N, M) W of eq. 5.
        free_logits: (N,) logits of a free weight per node instead (the paper's variant B).
        detach: keep the two losses from moving ``preference_logits``; ``free_logits`` always learn.
        mda, msa: the forms above.

    Returns:
        (MDA, MSA), two scalars without the coefficients a and b. Both are 0 for N = 0.

    Raises:
        ValueError: fewer than two modalities, shapes that do not match, both kinds of logits, or an unknown form.
    """
    if h.ndim != 3 or h.shape[1] < 2:
        raise ValueError(f"h has shape {tuple(h.shape)}, expected (N, M, D) with M >= 2 modalities")
    if preference_logits is not None and free_logits is not None:
        raise ValueError("give preference_logits or free_logits, not both")
    for name, logits, shape in (
        ("preference_logits", preference_logits, h.shape[:2]),
        ("free_logits", free_logits, h.shape[:1]),
    ):
        if logits is not None and logits.shape != shape:
            raise ValueError(f"{name} have shape {tuple(logits.shape)}, expected {tuple(shape)}")
    if mda not in MDA_FORMS:
        raise ValueError(f"mda={mda!r}: choose from {', '.join(MDA_FORMS)}")
    if msa not in MSA_FORMS:
        raise ValueError(f"msa={msa!r}: choose from {', '.join(MSA_FORMS)}")
    if use_reference(h.device):
        return node_losses_reference(h, preference_logits, free_logits, detach, mda, msa)
    if detach and preference_logits is not None:
        preference_logits = preference_logits.detach()
    return NodeLossesFunction.apply(h, preference_logits, free_logits, mda, msa)
