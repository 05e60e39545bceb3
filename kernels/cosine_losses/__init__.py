"""How far the directions of a batch's rows are apart: the losses of bootstrapped models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .cpu import two_by_two
from .primitives import cosine_losses_backward, cosine_losses_forward
from .reference import cosine_losses_reference

__all__ = ["cosine_losses"]


class CosineLossesFunction(torch.autograd.Function):
    """Keeps nothing but its arguments; norms and inner products are made again on the way back."""

    @staticmethod
    def forward(
        ctx, x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, target, rows, target_rows)
        ctx.pairs = pairs
        return cosine_losses_forward(x, target, rows, target_rows, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, target, rows, target_rows = ctx.saved_tensors
        grad_x = grad_target = None
        if ctx.needs_input_grad[0]:
            grad_x = cosine_losses_backward(grad, x, target, rows, target_rows, ctx.pairs)
        if ctx.needs_input_grad[1]:
            exchanged = tuple(number for one, other in two_by_two(ctx.pairs) for number in (other, one))
            grad_target = cosine_losses_backward(grad, target, x, target_rows, rows, exchanged)
        return grad_x, grad_target, None, None, None


def cosine_losses(
    x: Tensor,
    target: Tensor,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    rows: Tensor | None = None,
    target_rows: Tensor | None = None,
) -> Tensor:
    """For each pair (k, l) the mean over a batch of ``1 - cos(x[rows][:, k], target[target_rows][:, l])``.

    All pairs come from one reading of the batch's rows. A target that does not require a gradient costs nothing on the
    way back.

    Args:
        x: (R, K, D), floating point: K vectors for each row, as modalities of a node are.
        target: (S, L, D) of the same type.
        pairs: which of a row's vectors meet; None for each with its own number, where K is L.
        rows: (B,) int32 or int64 rows of x, in any order, repeated or not; None for all of them as they are.
        target_rows: (B,) rows of the target, likewise.

    Returns:
        (P,), one number for each pair; 0 for B = 0. A vector shorter than 1e-8 is divided by that instead of its norm,
        as in ``torch.nn.functional.cosine_similarity``: one of zeros is 1 apart from all.

    Raises:
        ValueError: shapes, devices or lengths that do not match, no pairs, or one of vectors that are not there.
        TypeError: x is not floating point, the target is of another type, or rows are not int32 or int64.
    """
    for name, tensor in (("x", x), ("target", target)):
        if tensor.ndim != 3:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected three dimensions: rows, vectors, width")
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, expected floating point")
    if target.dtype != x.dtype:
        raise TypeError(f"target is {target.dtype}, x is {x.dtype}: convert one")
    if target.shape[2] != x.shape[2]:
        raise ValueError(f"x has vectors of {x.shape[2]} numbers and target of {target.shape[2]}, expected as many")
    for name, tensor in (("target", target), ("rows", rows), ("target_rows", target_rows)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device} and x on {x.device}: move one of them")
    for name, ids in (("rows", rows), ("target_rows", target_rows)):
        if ids is not None and ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{name} has {ids.dtype}, expected int32 or int64")
        if ids is not None and ids.ndim != 1:
            raise ValueError(f"{name} has shape {tuple(ids.shape)}, expected (B,)")
    counts = [len(table) if ids is None else len(ids) for table, ids in ((x, rows), (target, target_rows))]
    if counts[0] != counts[1]:
        raise ValueError(f"{counts[0]} rows of x and {counts[1]} of target: a batch has as many of both")
    pairs = _checked(pairs, x.shape[1], target.shape[1])
    if use_reference(x.device):
        return cosine_losses_reference(x, target, rows, target_rows, pairs)
    return CosineLossesFunction.apply(x, target, rows, target_rows, tuple(number for pair in pairs for number in pair))


def _checked(pairs: Sequence[tuple[int, int]] | None, own: int, others: int) -> Sequence[tuple[int, int]]:
    """The pairs of ``own`` vectors with ``others``.

    Raises:
        ValueError: as above.
    """
    if pairs is None:
        if own != others:
            raise ValueError(f"x has {own} vectors in a row and target {others}: say which pairs are meant")
        pairs = [(number, number) for number in range(own)]
    if not pairs:
        raise ValueError("no pairs: expected one at least")
    for one, other in pairs:
        if not (0 <= one < own and 0 <= other < others):
            raise ValueError(f"pair {(one, other)}: x has vectors 0 to {own - 1} and target 0 to {others - 1}")
    return pairs
