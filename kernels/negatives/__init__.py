"""Exact uniform negatives: one draw per positive, nothing to reject, no loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..csr import check_ids
from ..dispatch import use_reference
from .primitives import draw_negatives
from .reference import sample_negatives_reference

__all__ = ["NegativeTable", "negatives_from_bits", "random_bits", "sample_negatives"]


@dataclass(eq=False)
class NegativeTable:
    """What a draw needs to land on an item that a user has not trained on.

    Order the C candidates by id and let a user's own be at places p_0 < p_1 < ... among them. The r-th candidate that
    is not the user's lies at place r + t where t counts the own ones with p_j - j <= r: one binary search.

    Attributes:
        candidates: (C,) int64 item ids that may be drawn, ascending.
        rowptr: (users + 1,) int64 into ``keys``.
        keys: (interactions,) int64, ``user * (C + 1) + p_j - j``, ascending as a whole.
    """

    candidates: Tensor
    rowptr: Tensor
    keys: Tensor

    @classmethod
    def build(cls, users: Tensor, items: Tensor, num_users: int, num_items: int) -> NegativeTable:
        """From TRAIN interactions (n,), (n,): candidates are the items seen in train, a user's own are excluded.

        Users and items may also be numpy arrays or lists of row numbers.

        Raises:
            ValueError: a user has trained on every candidate, so no negative exists; an id is out of range; or users
                and items are not two vectors of one length.
        """
        users, items = torch.as_tensor(users).long(), torch.as_tensor(items).long()
        if users.shape != items.shape or users.ndim != 1:
            raise ValueError(f"users {tuple(users.shape)} and items {tuple(items.shape)} must be (n,) both")
        check_ids("users", users, num_users)
        check_ids("items", items, num_items)
        pairs = torch.unique(users * num_items + items)
        users, items = pairs // num_items, pairs % num_items
        candidates, places = torch.unique(items, return_inverse=True)
        counts = torch.bincount(users, minlength=num_users)
        full = torch.nonzero(counts >= candidates.numel()).flatten()
        if candidates.numel() == 0:
            raise ValueError("no training interactions, so no item to draw as a negative")
        if full.numel():
            raise ValueError(f"user {int(full[0])} has trained on all {candidates.numel()} items: no negative exists")
        rowptr = torch.zeros(num_users + 1, dtype=torch.int64, device=users.device)
        torch.cumsum(counts, 0, out=rowptr[1:])
        own = torch.arange(users.numel(), device=users.device) - rowptr[users]
        return cls(candidates=candidates, rowptr=rowptr, keys=users * (candidates.numel() + 1) + places - own)

    def to(self, device) -> NegativeTable:
        return NegativeTable(self.candidates.to(device), self.rowptr.to(device), self.keys.to(device))


def sample_negatives(table: NegativeTable, users: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One item for each user, uniform over the candidates that the user has not trained on (BPR, eq. 9).

    Args:
        table: from :meth:`NegativeTable.build`.
        users: (B,) integer.
        generator: on the users' device; the same state gives the same items.

    Returns:
        (B,) int64 item ids.
    """
    return negatives_from_bits(table, users, random_bits(users, generator))


def random_bits(users: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(B,) int64: 63 random bits for each of the users (B,), on their device.

    Modulo a catalogue's size they are uniform up to one part in 10^12.
    """
    return torch.randint(0, 2**63 - 1, users.shape, generator=generator, device=users.device)


def negatives_from_bits(table: NegativeTable, users: Tensor, bits: Tensor) -> Tensor:
    """The second half of :func:`sample_negatives`: no random state, so a CUDA graph may replay it on new bits.

    Args:
        table: from :meth:`NegativeTable.build`.
        users: (B,) integer.
        bits: (B,) int64 from :func:`random_bits`.

    Returns:
        (B,) int64 item ids.
    """
    users = users.long()
    if use_reference(users.device):
        return sample_negatives_reference(table, users, bits)
    return draw_negatives(table.candidates, table.rowptr, table.keys, users, bits)
