"""Both directions of objective as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from ..node_losses.primitives import node_losses_forward_fake
from ..support import accumulation_dtype
from .cpu import objective_backward_cpu, objective_forward_cpu
from .operands import Operands


def _forward_fake(*operands):
    given = Operands(*operands)
    losses = given.h_users.shape[1] + 1
    slopes = given.h_users.new_empty(given.users.shape[0], losses, dtype=accumulation_dtype(given.h_users.dtype))
    statistics = [each for side in given.sides() for each in node_losses_forward_fake(*side, given.mda, given.msa)[2:]]
    return given.weights.new_empty(losses + 3), slopes, statistics


def _backward_fake(grad, slopes, statistics, learns_users, learns_items, *operands):
    given = Operands(*operands)
    tensors = given.h_users, given.h_items, given.norms, given.user_logits, given.item_logits
    trades = (given.user_trade if learns_users else None), (given.item_trade if learns_items else None)
    return [each.new_empty(each.shape) for each in tensors] + [
        statistics[0].new_empty(0) if trade is None else trade.new_empty(trade.shape) for trade in trades
    ]


_ARGUMENTS = (
    "Tensor h_users, Tensor h_items, Tensor norms, Tensor users, Tensor positives, Tensor negatives, Tensor weights, "
    "Tensor user_logits, Tensor item_logits, Tensor? user_trade, Tensor? item_trade, bool fuse_items, bool shrink, "
    "str fusion, str mda, str msa"
)

# The weighted losses (M + 4,), bpr's slopes (B, M + 1), and what node_losses keeps of users and of items, five each.
objective_forward = Primitive(
    f"objective_forward({_ARGUMENTS}) -> (Tensor, Tensor, Tensor[])",
    cpu=objective_forward_cpu,
    fake=_forward_fake,
)

# Gradients of h_users, h_items, norms, user_logits, item_logits, user_trade and item_trade; (0,) of a trade-off that
# does not learn.
objective_backward = Primitive(
    "objective_backward(Tensor grad, Tensor slopes, Tensor[] statistics, bool learns_users, bool learns_items, "
    f"{_ARGUMENTS}) -> Tensor[]",
    cpu=objective_backward_cpu,
    fake=_backward_fake,
)
