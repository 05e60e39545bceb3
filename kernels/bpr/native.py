"""Launchers of the native bpr, in float32 and float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ..native import ELEMENTS, call, contiguous, within
from .cpu import bpr_backward_cpu, bpr_forward_cpu
from .operands import Operands


def _fits(given: Operands) -> bool:
    """One element type for all, and one whose sums need no other."""
    tables = given.h_users, given.h_items, given.user_logits, given.item_logits
    dtypes = {table.dtype for table in tables if table is not None}
    return dtypes in ({torch.float32}, {torch.float64})


def _arguments(given: Operands) -> tuple:
    tensors = (
        given.h_users, given.h_items, within(given.users, given.h_users),
        within(given.positives, given.h_items), within(given.negatives, given.h_items),
        given.user_logits, given.item_logits,
    )  # fmt: skip
    num_users, modalities, width = given.h_users.shape
    sizes = num_users, given.h_items.shape[0], given.users.shape[0], modalities, width
    return (ELEMENTS[given.h_users.dtype], *contiguous(*tensors), *sizes, int(given.fusion == "concat"))


def bpr_forward_native(*operands) -> tuple[Tensor, Tensor]:
    given = Operands(*operands)
    if not _fits(given):
        return bpr_forward_cpu(*operands)
    h_users, losses = given.h_users, given.h_users.shape[1] + 1
    results = h_users.new_empty(losses), h_users.new_empty(given.users.shape[0], losses)
    call("bpr_forward", *_arguments(given), *results)
    return results


def bpr_backward_native(grad_losses: Tensor, slopes: Tensor, *operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    given = Operands(*operands)
    if not _fits(given):
        return bpr_backward_cpu(grad_losses, slopes, *operands)
    tables = given.h_users, given.h_items, given.user_logits, given.item_logits
    gradients = [None if table is None else table.new_empty(table.shape) for table in tables]
    call("bpr_backward", *_arguments(given), grad_losses.contiguous(), slopes.contiguous(), *gradients)
    user, item, user_logits, item_logits = (
        given.h_users.new_empty(0) if gradient is None else gradient for gradient in gradients
    )
    return user, item, user_logits, item_logits
