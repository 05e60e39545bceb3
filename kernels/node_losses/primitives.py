"""The two directions of node_losses, as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from ..support import accumulation_dtype
from .cpu import node_losses_backward_cpu, node_losses_forward_cpu
from .forms import needs_cosines, needs_distances


def node_losses_forward_fake(h, preference_logits, free_logits, mda, msa):
    num_nodes, modalities, _ = h.shape
    pairs = modalities * (modalities - 1) // 2
    exact = accumulation_dtype(h.dtype)
    return (
        h.new_empty(()),
        h.new_empty(()),
        h.new_empty(num_nodes, dtype=exact),
        h.new_empty(num_nodes, modalities if needs_cosines(mda, msa) else 0, dtype=exact),
        h.new_empty(num_nodes, pairs if needs_cosines(mda, msa) else 0, dtype=exact),
        h.new_empty(num_nodes, pairs if needs_distances(mda) else 0, dtype=exact),
        h.new_empty(pairs if mda == "fro" else 0, dtype=exact),
    )


def _backward_fake(
    grad_mda,
    grad_msa,
    h,
    preference_logits,
    free_logits,
    w_dif,
    norms,
    cosines,
    distances,
    pair_norms,
    mda,
    msa,
):
    logits = free_logits if preference_logits is None else preference_logits
    return h.new_empty(h.shape), w_dif.new_empty(0) if logits is None else logits.new_empty(logits.shape)


# MDA and MSA (), and what the backward pass takes: w_dif (N,), norms (N, M), cosines (N, P) and distances (N, P) for P
# pairs of modalities, and the pairs' Frobenius norms (P,). Scalars that the forms do not need have 0 columns.
node_losses_forward = Primitive(
    "node_losses_forward(Tensor h, Tensor? preference_logits, Tensor? free_logits, str mda, str msa) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    cpu=node_losses_forward_cpu,
    fake=node_losses_forward_fake,
)

# The gradients of h and of the logits that are given; (0,) for the latter when none are.
node_losses_backward = Primitive(
    "node_losses_backward(Tensor grad_mda, Tensor grad_msa, Tensor h, Tensor? preference_logits, Tensor? free_logits, "
    "Tensor w_dif, Tensor norms, Tensor cosines, Tensor distances, Tensor pair_norms, str mda, str msa) "
    "-> (Tensor, Tensor)",
    cpu=node_losses_backward_cpu,
    fake=_backward_fake,
)
