"""Modality preferences of every node (eq. 5) and the trade-off weights that follow from them (eq. 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Preferences(nn.Module):
    """W of eq. 5, users and items apart, and the source of the weights of eq. 8.

    ``nlt`` decides both: ``preference`` learns W and weighs by it; ``none`` learns W and weighs by 1/2; ``fixed:c``
    (variant A) gives text (without one, the last modality) the preference c at every node, the others an equal share of
    the rest, and weighs by that; ``free`` (variant B) learns W and, apart from it, one logit per node to weigh by.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        modalities: tuple[str, ...],
        *,
        nlt: str,
        fusion_nodes: str,
        initial: str,
        generator: torch.Generator,
    ):
        """
        Args:
            num_users, num_items: U and I.
            modalities: names of the M columns.
            nlt: where the weights of eq. 8 come from, see above.
            fusion_nodes: ``all`` or ``users``: whose preferences enter the fusion.
            initial: ``xavier`` or ``zero``.
            generator: of the initial parameters.
        """
        super().__init__()
        self.nlt, _, share = nlt.partition(":")
        self.fuse_items = fusion_nodes == "all"
        self.learned = self.nlt != "fixed"
        count = len(modalities)
        if not self.learned:
            shares = torch.full((count,), (1 - float(share)) / (count - 1))
            shares[modalities.index("text") if "text" in modalities else -1] = float(share)
            self.register_buffer("users", shares.log().expand(num_users, -1).contiguous(), persistent=False)
            self.register_buffer("items", shares.log().expand(num_items, -1).contiguous(), persistent=False)
        else:
            num_nodes = num_users + num_items
            self.users = nn.Parameter(_initial(initial, num_users, num_nodes, count, generator))
            self.items = nn.Parameter(_initial(initial, num_items, num_nodes, count, generator))
        if self.nlt == "free":
            self.free_users = nn.Parameter(torch.zeros(num_users))
            self.free_items = nn.Parameter(torch.zeros(num_items))

    def user_logits(self) -> Tensor:
        """(U, M) W of the users."""
        return self.users

    def item_fusion_logits(self) -> Tensor | None:
        """(I, M) W of the items, or None when only users have a preference in the fusion (as in DRAGON)."""
        return self.items if self.fuse_items else None

    def trade_off(self, side: str) -> Tensor | None:
        """Where w_dif of a side's nodes comes from: preference logits (n, M), free logits (n,), or None for 1/2."""
        return getattr(self, side) if self.nlt in ("preference", "fixed") else getattr(self, f"free_{side}", None)

    @torch.no_grad()
    def values(self) -> tuple[Tensor, Tensor]:
        """alpha of eq. 5: (U, M) and (I, M), rows adding up to 1."""
        return torch.softmax(self.users, dim=1), torch.softmax(self.items, dim=1)


def _initial(kind: str, rows: int, num_nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """(rows, M): zeros, or Xavier's normal distribution for the whole (N, M) matrix."""
    if kind == "zero":
        return torch.zeros(rows, count)
    return torch.randn(rows, count, generator=generator) * math.sqrt(2 / (num_nodes + count))
