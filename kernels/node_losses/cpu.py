"""CPU path of node_losses: every gradient is a per-node combination of the node's own modality rows.

Writing H_p for modality p of a node, the gradient of a distance is a multiple of H_p - H_q, that of a cosine a
combination of H_p and H_q. The forward pass leaves per-node scalars only (norms, cosines, distances); the backward pass
turns them into coefficients and combines the rows.
"""

from __future__ import annotations

from itertools import combinations, permutations

import torch
from torch import Tensor

from ..support import accumulation_dtype
from .forms import COSINE_EPS, needs_cosines, needs_distances
from .weights import difference_weight


def node_losses_forward_cpu(
    h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
) -> tuple[Tensor, ...]:
    num_nodes, modalities, _ = h.shape
    pairs = list(combinations(range(modalities), 2))
    exact = accumulation_dtype(h.dtype)
    w_dif = difference_weight(
        num_nodes, preference_logits=preference_logits, free_logits=free_logits, detach=True, like=h
    ).to(exact)
    norms = h.new_empty(num_nodes, modalities if needs_cosines(mda, msa) else 0, dtype=exact)
    cosines = h.new_empty(num_nodes, len(pairs) if needs_cosines(mda, msa) else 0, dtype=exact)
    distances = h.new_empty(num_nodes, len(pairs) if needs_distances(mda) else 0, dtype=exact)
    if needs_cosines(mda, msa):
        torch.linalg.vector_norm(h, dim=2, dtype=exact, out=norms).clamp_min_(COSINE_EPS)
    for pair, (p, q) in enumerate(pairs):
        if needs_cosines(mda, msa):
            cosine = torch.sum(h[:, p] * h[:, q], 1, dtype=exact, out=cosines[:, pair])
            cosine.div_(norms[:, p] * norms[:, q])
        if needs_distances(mda):
            torch.linalg.vector_norm(h[:, p] - h[:, q], dim=1, dtype=exact, out=distances[:, pair])
    mda_loss, msa_loss, pair_norms = losses_of_statistics(w_dif, cosines, distances, mda, msa)
    return mda_loss.to(h.dtype), msa_loss.to(h.dtype), w_dif, norms, cosines, distances, pair_norms


def losses_of_statistics(
    w_dif: Tensor, cosines: Tensor, distances: Tensor, mda: str, msa: str
) -> tuple[Tensor, Tensor, Tensor]:
    """MDA and MSA (), and the Frobenius norms (P,) that ``fro`` needs, from a node's weight (N,) and scalars (N, P)."""
    count, pairs = max(len(w_dif), 1), max(cosines.shape[1], distances.shape[1])
    mda_loss, msa_loss = w_dif.new_zeros(()), w_dif.new_zeros(())
    pair_norms = w_dif.new_empty(pairs if mda == "fro" else 0)
    for pair in range(pairs):
        if mda == "abs_cos":
            mda_loss += w_dif.dot(cosines[:, pair].abs()) / count
        if msa == "cosine":
            msa_loss += (1 - w_dif).dot(1 - cosines[:, pair]) / count
        if mda == "row_l2":
            mda_loss -= w_dif.dot(distances[:, pair]) / count
        elif mda == "fro":
            mda_loss -= torch.linalg.vector_norm(w_dif * distances[:, pair], out=pair_norms[pair])
    return mda_loss, msa_loss, pair_norms


def node_losses_backward_cpu(
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
    num_nodes, modalities, _ = h.shape
    count = max(num_nodes, 1)
    grad_w = torch.zeros_like(w_dif)
    pairs = list(combinations(range(modalities), 2))
    slopes = w_dif.new_empty(len(pairs), num_nodes) if needs_distances(mda) else None
    coefficients = w_dif.new_zeros(modalities, modalities, num_nodes) if needs_cosines(mda, msa) else None
    for pair, (p, q) in enumerate(pairs):
        if needs_distances(mda):
            distance = distances[:, pair]
            if mda == "row_l2":
                grad_w -= grad_mda / count * distance
                slope = -grad_mda / count * w_dif / distance
            else:
                norm = pair_norms[pair]
                grad_w -= torch.where(norm > 0, grad_mda * w_dif * distance.square() / norm, 0.0)
                slope = -grad_mda * w_dif.square() / norm
            # Where two rows coincide the norm has no slope; its subgradient 0 is taken, as PyTorch does.
            assert slopes is not None
            slopes[pair] = torch.where(distance > 0, slope, 0.0).nan_to_num(0.0)
        if needs_cosines(mda, msa):
            cosine = cosines[:, pair]
            slope = torch.zeros_like(w_dif)
            if mda == "abs_cos":
                grad_w += grad_mda / count * cosine.abs()
                slope += grad_mda / count * w_dif * cosine.sign()
            if msa == "cosine":
                grad_w -= grad_msa / count * (1 - cosine)
                slope -= grad_msa / count * (1 - w_dif)
            assert coefficients is not None
            cross = slope / (norms[:, p] * norms[:, q])
            coefficients[p, q] += cross
            coefficients[q, p] += cross
            for m in (p, q):
                own = slope * cosine / norms[:, m].square()
                coefficients[m, m] -= torch.where(norms[:, m] > COSINE_EPS, own, 0.0)
    if coefficients is None:
        grad_h = torch.zeros_like(h, memory_format=torch.contiguous_format)
    else:
        coefficients = coefficients.to(h.dtype)
        grad_h = torch.mul(h, coefficients.diagonal()[:, :, None], out=h.new_empty(h.shape))
        for p, q in permutations(range(modalities), 2):
            grad_h[:, p].addcmul_(h[:, q], coefficients[p, q, :, None])
    if slopes is not None:
        for (p, q), slope in zip(pairs, slopes.to(h.dtype)[:, :, None]):
            difference = h[:, p] - h[:, q]  # not in two terms, which would cancel where the rows are close
            grad_h[:, p].addcmul_(difference, slope)
            grad_h[:, q].addcmul_(difference, slope, value=-1)
    return grad_h, _grad_logits(grad_w, preference_logits, free_logits, w_dif)


def _grad_logits(grad_w: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, w_dif: Tensor) -> Tensor:
    """The gradient of w_dif carried on to its logits; (0,) without any."""
    if preference_logits is not None:
        alpha = torch.softmax(preference_logits, dim=1)
        lowest, highest = (extreme[:, None] for extreme in torch.aminmax(alpha, dim=1))
        # Modalities that share the highest or the lowest preference share its slope, as with PyTorch's amax and amin.
        at_highest, at_lowest = (alpha == highest).to(alpha.dtype), (alpha == lowest).to(alpha.dtype)
        slope = at_highest / at_highest.sum(1, keepdim=True) - at_lowest / at_lowest.sum(1, keepdim=True)
        along = (slope * alpha).sum(1, keepdim=True)
        return (alpha * (slope - along) * grad_w[:, None]).to(preference_logits.dtype)
    if free_logits is not None:
        return (grad_w * w_dif * (1 - w_dif)).to(free_logits.dtype)
    return grad_w.new_empty(0)
