"""What both directions of objective are given, in the order of the registered operators."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Operands(NamedTuple):
    """See :func:`mde_fast.kernels.objective` for shapes and meanings; what may be None is optional."""

    h_users: Tensor
    h_items: Tensor
    norms: Tensor
    users: Tensor
    positives: Tensor
    negatives: Tensor
    weights: Tensor
    user_logits: Tensor
    item_logits: Tensor
    user_trade: Tensor | None
    item_trade: Tensor | None
    fuse_items: bool
    shrink: bool
    fusion: str
    mda: str
    msa: str

    def of_bpr(self) -> tuple:
        """The operands of :mod:`mde_fast.kernels.bpr`."""
        triples = self.users, self.positives, self.negatives
        item_logits = self.item_logits if self.fuse_items else None
        return self.h_users, self.h_items, *triples, self.user_logits, item_logits, self.fusion

    def sides(self) -> tuple[tuple[Tensor, Tensor | None, Tensor | None], ...]:
        """H, preference logits and free logits of users and of items, as node_losses has them."""
        return (self.h_users, *by_kind(self.user_trade)), (self.h_items, *by_kind(self.item_trade))

    def counts(self) -> tuple[int, int]:
        """How many numbers of embeddings and of preferences the regulariser is a mean over."""
        embeddings = max(self.users.numel() * self.h_users.shape[2], 1)
        return embeddings, max(self.user_logits.numel() + self.item_logits.numel(), 1)


def by_kind(trade: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Preference logits (N, M) and free logits (N,), one or both of them None."""
    if trade is None:
        return None, None
    return (trade, None) if trade.ndim == 2 else (None, trade)
