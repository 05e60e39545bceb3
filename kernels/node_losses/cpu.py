"""CPU path of node_losses: every gradient is a per-node combination of the node's own modality rows."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

COSINE_EPS = 1e-8  # the smallest norm a cosine divides by, as in torch.nn.functional.cosine_similarity


class NodeLossesFunction(torch.autograd.Function):
    """(MDA, MSA) of the nodes' rows and their difference weights.

    Writing H_p for modality p of a node, the gradient of either loss is dH_p = sum_q c_pq H_q. The forward pass keeps
    per-node scalars only (norms, cosines); the backward pass turns them into c and combines the rows.
    """

    @staticmethod
    def forward(ctx, h: Tensor, w_dif: Tensor, mda: str, msa: str) -> tuple[Tensor, Tensor]:
        pairs = list(combinations(range(h.shape[1]), 2))
        count = max(h.shape[0], 1)
        needs_cosine = mda == "abs_cos" or msa == "cosine"
        norms = torch.linalg.vector_norm(h, dim=2).clamp_min(COSINE_EPS) if needs_cosine else None
        cosines, distances = [], []
        for p, q in pairs:
            if needs_cosine:
                cosines.append((h[:, p] * h[:, q]).sum(1) / (norms[:, p] * norms[:, q]))
            if mda in ("row_l2", "fro"):
                distances.append(torch.linalg.vector_norm(h[:, p] - h[:, q], dim=1))
        zero = h.new_zeros(())
        if mda == "row_l2":
            mda_loss = -sum(w_dif.dot(distance) for distance in distances) / count
        elif mda == "fro":
            mda_loss = -sum(torch.linalg.vector_norm(w_dif * distance) for distance in distances)
        elif mda == "abs_cos":
            mda_loss = sum(w_dif.dot(cosine.abs()) for cosine in cosines) / count
        else:
            mda_loss = zero
        msa_loss = sum((1 - w_dif).dot(1 - cosine) for cosine in cosines) / count if msa == "cosine" else zero.clone()
        ctx.save_for_backward(h, w_dif, norms, *cosines, *distances)
        ctx.options = mda, msa, pairs, len(cosines)
        return mda_loss, msa_loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mda: Tensor, grad_msa: Tensor):
        h, w_dif, norms, *scalars = ctx.saved_tensors
        mda, msa, pairs, num_cosines = ctx.options
        cosines, distances = scalars[:num_cosines], scalars[num_cosines:]
        num_nodes, num_modalities, _ = h.shape
        count = max(num_nodes, 1)
        grad_w = torch.zeros_like(w_dif)
        coefficients = h.new_zeros(num_modalities, num_modalities, num_nodes)
        for index, (p, q) in enumerate(pairs):
            if distances:
                distance = distances[index]
                if mda == "row_l2":
                    grad_w -= grad_mda / count * distance
                    slope = -grad_mda / count * w_dif / distance
                else:
                    norm = torch.linalg.vector_norm(w_dif * distance)
                    grad_w -= torch.where(norm > 0, grad_mda * w_dif * distance.square() / norm, 0.0)
                    slope = -grad_mda * w_dif.square() / norm
                # Where two rows coincide the norm has no slope; its subgradient 0 is taken, as PyTorch does.
                slope = torch.where(distance > 0, slope, 0.0).nan_to_num(0.0)
                for row, column in ((p, p), (q, q)):
                    coefficients[row, column] += slope
                for row, column in ((p, q), (q, p)):
                    coefficients[row, column] -= slope
            if cosines:
                cosine = cosines[index]
                slope = torch.zeros_like(w_dif)
                if mda == "abs_cos":
                    grad_w += grad_mda / count * cosine.abs()
                    slope += grad_mda / count * w_dif * cosine.sign()
                if msa == "cosine":
                    grad_w -= grad_msa / count * (1 - cosine)
                    slope -= grad_msa / count * (1 - w_dif)
                cross = slope / (norms[:, p] * norms[:, q])
                coefficients[p, q] += cross
                coefficients[q, p] += cross
                for m in (p, q):
                    own = slope * cosine / norms[:, m].square()
                    coefficients[m, m] -= torch.where(norms[:, m] > COSINE_EPS, own, 0.0)
        grad_h = torch.empty_like(h)
        for p in range(num_modalities):
            torch.mul(h[:, 0], coefficients[p, 0, :, None], out=grad_h[:, p])
            for q in range(1, num_modalities):
                grad_h[:, p].addcmul_(h[:, q], coefficients[p, q, :, None])
        return grad_h, grad_w if ctx.needs_input_grad[1] else None, None, None
