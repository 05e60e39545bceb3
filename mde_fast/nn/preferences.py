"""Modality preferences of every node (eq. 5) and the trade-off weights that follow from them (eq. 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..runs.config import Config


class Preferences(nn.Module):
    """W of eq. 5, users and items apart, and the source of the weights of eq. 8.

    ``nlt`` decides both: ``preference`` learns W and weighs by it; ``none`` learns W and weighs by 1/2; ``fixed:c``
    (variant A) gives text (without one, the last modality) the preference c at every node, the others an equal share of
    the rest, and weighs by that; ``free`` (variant B) learns W and, apart from it, one logit per node to weigh by.
    """

    def __init__(self, config: Config, num_users: int, num_items: int, modalities: tuple[str, ...]):
        super().__init__()
        self.nlt = config.nlt.partition(":")[0]
        self.fuse_items = config.fusion_nodes == "all"
        count = len(modalities)
        if self.nlt == "fixed":
            share = float(config.nlt.partition(":")[2])
            shares = torch.full((count,), (1 - share) / (count - 1))
            shares[modalities.index("text") if "text" in modalities else -1] = share
            self.register_buffer("users", shares.log().expand(num_users, -1).contiguous(), persistent=False)
            self.register_buffer("items", shares.log().expand(num_items, -1).contiguous(), persistent=False)
        else:
            self.users = nn.Parameter(_initial(config.preference_init, num_users, num_users + num_items, count))
            self.items = nn.Parameter(_initial(config.preference_init, num_items, num_users + num_items, count))
        if self.nlt == "free":
            self.free_users = nn.Parameter(torch.zeros(num_users))
            self.free_items = nn.Parameter(torch.zeros(num_items))

    def user_logits(self) -> Tensor:
        """(U, M) W of the users."""
        return self.users

    def item_fusion_logits(self) -> Tensor | None:
        """(I, M) W of the items, or None when only users have a preference in the fusion (as in DRAGON)."""
        return self.items if self.fuse_items else None

    def trade_off(self, side: str) -> dict[str, Tensor | None]:
        """The arguments of :func:`mde_fast.kernels.node_losses` that say where w_dif comes from."""
        preference = getattr(self, side) if self.nlt in ("preference", "fixed") else None
        return {"preference_logits": preference, "free_logits": getattr(self, f"free_{side}", None)}

    def regulariser(self) -> Tensor:
        """Mean of W ** 2 over nodes and modalities (the part of eq. 11's regulariser that belongs to W)."""
        if self.nlt == "fixed":
            return self.users.new_zeros(())
        total = self.users.square().sum() + self.items.square().sum()
        return total / (self.users.numel() + self.items.numel())

    @torch.no_grad()
    def values(self) -> tuple[Tensor, Tensor]:
        """alpha of eq. 5: (U, M) and (I, M), rows adding up to 1."""
        return torch.softmax(self.users, dim=1), torch.softmax(self.items, dim=1)


def _initial(kind: str, rows: int, num_nodes: int, count: int) -> Tensor:
    """(rows, M): zeros, or Xavier's normal distribution for the whole (N, M) matrix."""
    if kind == "zero":
        return torch.zeros(rows, count)
    return torch.randn(rows, count) * math.sqrt(2 / (num_nodes + count))
