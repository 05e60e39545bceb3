"""Ground truth of node_losses: equations 6, 7 and 8, pair of modalities by pair of modalities."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F


def difference_weight_reference(
    num_nodes: int, like: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, detach: bool
) -> Tensor:
    """(N,) w_dif of eq. 8."""
    if preference_logits is not None:
        preference = torch.softmax(preference_logits, dim=1)
        weight = preference.amax(dim=1) - preference.amin(dim=1)
        return weight.detach() if detach else weight
    if free_logits is not None:
        return torch.sigmoid(free_logits)
    return like.new_full((num_nodes,), 0.5)


def node_losses_reference(
    h: Tensor,
    preference_logits: Tensor | None,
    free_logits: Tensor | None,
    detach: bool,
    mda: str,
    msa: str,
) -> tuple[Tensor, Tensor]:
    w_dif = difference_weight_reference(h.shape[0], h, preference_logits, free_logits, detach)
    w_sim = 1 - w_dif
    count = max(h.shape[0], 1)
    mda_loss, msa_loss = h.new_zeros(()), h.new_zeros(())
    for first, second in combinations(h.unbind(dim=1), 2):
        difference = first - second
        cosine = F.cosine_similarity(first, second, dim=1)
        if mda == "row_l2":
            mda_loss = mda_loss - (w_dif * torch.linalg.vector_norm(difference, dim=1)).sum() / count
        elif mda == "fro":
            mda_loss = mda_loss - torch.linalg.vector_norm(w_dif[:, None] * difference)
        elif mda == "abs_cos":
            mda_loss = mda_loss + (w_dif * cosine.abs()).sum() / count
        if msa == "cosine":
            msa_loss = msa_loss + (w_sim * (1 - cosine)).sum() / count
    return mda_loss, msa_loss
