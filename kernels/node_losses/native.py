"""Launchers of the native node_losses, for two to four modalities."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call, contiguous
from ..support import accumulation_dtype
from .cpu import node_losses_backward_cpu, node_losses_forward_cpu
from .forms import COSINE_EPS, MDA_FORMS, MSA_FORMS, needs_cosines, needs_distances

MODALITIES = range(2, 5)


def _fits(h: Tensor, *logits: Tensor | None) -> bool:
    """Compiled for so many modalities, and for logits of h's type."""
    return h.shape[1] in MODALITIES and all(given is None or given.dtype == h.dtype for given in logits)


def node_losses_forward_native(
    h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
) -> tuple[Tensor, ...]:
    if not _fits(h, preference_logits, free_logits):
        return node_losses_forward_cpu(h, preference_logits, free_logits, mda, msa)
    nodes, modalities, width = h.shape
    pairs, exact = modalities * (modalities - 1) // 2, accumulation_dtype(h.dtype)
    cosine, distance = needs_cosines(mda, msa), needs_distances(mda)
    statistics = (
        h.new_empty(nodes, dtype=exact),
        h.new_empty(nodes, modalities if cosine else 0, dtype=exact),
        h.new_empty(nodes, pairs if cosine else 0, dtype=exact),
        h.new_empty(nodes, pairs if distance else 0, dtype=exact),
        h.new_empty(pairs if mda == "fro" else 0, dtype=exact),
    )
    losses = h.new_empty(()), h.new_empty(())
    call(
        "node_losses_forward", ELEMENTS[h.dtype], modalities, *contiguous(h, preference_logits, free_logits), nodes,
        width, MDA_FORMS.index(mda), MSA_FORMS.index(msa), COSINE_EPS, *statistics, *losses,
    )  # fmt: skip
    return *losses, *statistics


def node_losses_backward_native(
    grad_mda: Tensor,
    grad_msa: Tensor,
    h: Tensor,
    preference_logits: Tensor | None,
    free_logits: Tensor | None,
    w_dif: Tensor,
    norms: Tensor,
    cosines: Tensor,
    distances: Tensor,
    pair_norms: Tensor,
    mda: str,
    msa: str,
) -> tuple[Tensor, Tensor]:
    statistics = w_dif, norms, cosines, distances, pair_norms
    if not _fits(h, preference_logits, free_logits):
        return node_losses_backward_cpu(grad_mda, grad_msa, h, preference_logits, free_logits, *statistics, mda, msa)
    nodes, modalities, width = h.shape
    logits = free_logits if preference_logits is None else preference_logits
    grad_h = h.new_empty(h.shape)
    grad_logits = w_dif.new_empty(0) if logits is None else logits.new_empty(logits.shape)
    grad_mda, grad_msa = grad_mda.to(h.dtype), grad_msa.to(h.dtype)
    call(
        "node_losses_backward", ELEMENTS[h.dtype], modalities, *contiguous(h, preference_logits, free_logits), nodes,
        width, MDA_FORMS.index(mda), MSA_FORMS.index(msa), COSINE_EPS, *contiguous(*statistics), grad_mda, grad_msa,
        grad_h, grad_logits,
    )  # fmt: skip
    return grad_h, grad_logits
