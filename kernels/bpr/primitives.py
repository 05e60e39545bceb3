"""Both directions of bpr as registered operators without autograd."""

from __future__ import annotations

from torch import Tensor

from ..dispatch import Primitive
from ..support import accumulation_dtype
from .cpu import bpr_backward_cpu, bpr_forward_cpu
from .operands import Operands


def _forward_fake(*operands) -> tuple[Tensor, Tensor]:
    given = Operands(*operands)
    h_users, losses = given.h_users, given.h_users.shape[1] + 1
    slopes = h_users.new_empty(given.users.shape[0], losses, dtype=accumulation_dtype(h_users.dtype))
    return h_users.new_empty(losses), slopes


def _backward_fake(grad_losses: Tensor, slopes: Tensor, *operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    given = Operands(*operands)
    tables = given.h_users, given.h_items, given.user_logits, given.item_logits
    user, item, user_logits, item_logits = (
        given.h_users.new_empty(0) if table is None else table.new_empty(table.shape) for table in tables
    )
    return user, item, user_logits, item_logits


_ARGUMENTS = (
    "Tensor h_users, Tensor h_items, Tensor users, Tensor positives, Tensor negatives, Tensor? user_logits, "
    "Tensor? item_logits, str fusion"
)

# The losses (M + 1,), and for the backward pass sigmoid(-difference) of each triple and loss, (B, M + 1): minus the
# slope of -log sigmoid.
bpr_forward = Primitive(
    f"bpr_forward({_ARGUMENTS}) -> (Tensor, Tensor)",
    cpu=bpr_forward_cpu,
    fake=_forward_fake,
)

# Gradients of h_users, h_items, user_logits and item_logits; (0,) for one that is None.
bpr_backward = Primitive(
    f"bpr_backward(Tensor grad_losses, Tensor slopes, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=bpr_backward_cpu,
    fake=_backward_fake,
)
