"""Launchers of the native cosine_losses, in float32 and float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..native import ELEMENTS, call, contiguous, within
from .cpu import EPS, cosine_losses_backward_cpu, cosine_losses_forward_cpu


def cosine_losses_forward_native(
    x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    if not _fits(x):
        return cosine_losses_forward_cpu(x, target, rows, target_rows, pairs)
    losses = x.new_empty(len(pairs) // 2)
    call("cosine_losses_forward", *_arguments(x, target, rows, target_rows, pairs), losses)
    return losses


def cosine_losses_backward_native(
    grad: Tensor, x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    if not _fits(x):
        return cosine_losses_backward_cpu(grad, x, target, rows, target_rows, pairs)
    grad_x = x.new_empty(x.shape)
    arguments = _arguments(x, target, rows, target_rows, pairs)
    call("cosine_losses_backward", *arguments, grad.contiguous(), x.shape[0], grad_x)
    return grad_x


def _fits(x: Tensor) -> bool:
    """A type whose sums need no other: gradients of a row's several places in the batch are added where they are."""
    return x.dtype in (torch.float32, torch.float64)


def _arguments(
    x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> tuple:
    ids = [None if numbers is None else within(numbers, table) for numbers, table in ((rows, x), (target_rows, target))]
    batch = (x if rows is None else rows).shape[0]
    sizes = batch, x.shape[1], target.shape[1], x.shape[2]
    number = torch.tensor(list(pairs), dtype=torch.int64)
    return ELEMENTS[x.dtype], *contiguous(x, target, *ids), *sizes, number, len(pairs) // 2, EPS
