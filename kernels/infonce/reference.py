"""Ground truth of infonce: the full matrix of similarities and a cross entropy."""

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F


def infonce_reference(h: Tensor, weight: Tensor, nodes: Tensor, temperature: float) -> Tensor:
    batch = h.shape[0]
    same_node = (nodes[:, None] == nodes[None, :]) & ~torch.eye(batch, dtype=torch.bool, device=h.device)
    target = torch.arange(batch, device=h.device)
    loss = h.new_zeros(())
    for first, second in combinations(F.normalize(h, dim=2).unbind(dim=1), 2):
        logits = (first @ second.T / temperature).masked_fill(same_node, float("-inf"))
        per_node = F.cross_entropy(logits, target, reduction="none") + F.cross_entropy(
            logits.T, target, reduction="none"
        )
        loss = loss + (weight * per_node).sum() / (2 * max(batch, 1))
    return loss
