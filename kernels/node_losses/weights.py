"""The node-level trade-off of equation 8: one number per node, never a matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def difference_weight(
    num_nodes: int, *, preference_logits: Tensor | None, free_logits: Tensor | None, detach: bool, like: Tensor
) -> Tensor:
    """(N,) w_dif of eq. 8; see :func:`mde_fast.kernels.node_losses`."""
    if preference_logits is not None and free_logits is not None:
        raise ValueError("give preference_logits or free_logits, not both")
    if preference_logits is not None:
        if preference_logits.ndim != 2 or preference_logits.shape[0] != num_nodes:
            shape = tuple(preference_logits.shape)
            raise ValueError(f"preference_logits have shape {shape}, expected ({num_nodes}, M)")
        low, high = torch.aminmax(torch.softmax(preference_logits, dim=1), dim=1)
        return (high - low).detach() if detach else high - low
    if free_logits is not None:
        if free_logits.shape != (num_nodes,):
            raise ValueError(f"free_logits have shape {tuple(free_logits.shape)}, expected ({num_nodes},)")
        return torch.sigmoid(free_logits)
    return like.new_full((num_nodes,), 0.5)
