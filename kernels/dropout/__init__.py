"""Dropout whose mask follows from a seed alone: nothing is stored, and every device drops the same elements."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import use_reference
from .primitives import dropout_apply
from .reference import dropout_reference

__all__ = ["dropout"]


class DropoutFunction(torch.autograd.Function):
    """y = mask * x / (1 - share); linear in x, so that the gradient goes through the same mask, made again."""

    @staticmethod
    def forward(ctx, x: Tensor, seed: Tensor, rows: Tensor | None, share: float, stream: int) -> Tensor:
        ctx.save_for_backward(seed, rows)
        ctx.share, ctx.stream = share, stream
        return dropout_apply(x, seed, rows, share, stream)

    @staticmethod
    def backward(ctx, grad: Tensor):
        seed, rows = ctx.saved_tensors
        return DropoutFunction.apply(grad, seed, rows, ctx.share, ctx.stream), None, None, None, None


def dropout(x: Tensor, share: float, seed: Tensor, *, stream: int = 0, rows: Tensor | None = None) -> Tensor:
    """Zero a ``share`` of x's elements and divide the others by ``1 - share`` (Srivastava et al., JMLR 2014).

    Whether an element stays follows from the seed, the stream and the element's number in row-major order alone,
    through an integer hash: the same on every device, in every type, eagerly, compiled and in a replayed CUDA graph.
    No generator is touched.

    Args:
        x: floating point, any shape.
        share: of the elements that are dropped, from 0 up to but without 1.
        seed: one int64 on x's device, () or (1,), ``batch.bits[0]`` say. Each is a mask of its own, also 0, 1, 2.
        stream: a number that tells several masks of one seed apart, 0 or more.
        rows: (x.shape[0],) integer; x are these rows of a larger tensor, and their elements count as there:
            ``dropout(y[rows], ..., rows=rows)`` is ``dropout(y, ...)[rows]``, at the cost of the rows alone.

    Returns:
        x's shape and type; a dropped element is 0 whatever it was. Elements 2**32 apart share their fate.

    Raises:
        ValueError: a share or stream out of range, a seed of another shape, rows that do not match x, or devices that
            differ.
        TypeError: x is not floating point, or seed or rows are not integers.
    """
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, expected floating point")
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: must be 0 or more, and below 1")
    if not 0 <= stream < 2**31:
        raise ValueError(f"stream={stream}: must be 0 or more, and below 2**31")
    if seed.dtype != torch.int64:
        raise TypeError(f"seed is {seed.dtype}, expected int64")
    if seed.shape not in ((), (1,)):
        raise ValueError(f"seed has shape {tuple(seed.shape)}, expected () or (1,)")
    if seed.device != x.device:
        raise ValueError(f"seed is on {seed.device}, x on {x.device}")
    if rows is not None:
        if rows.is_floating_point() or rows.dtype == torch.bool:
            raise TypeError(f"rows are {rows.dtype}, expected integers")
        if x.ndim == 0 or rows.shape != x.shape[:1]:
            raise ValueError(f"rows has shape {tuple(rows.shape)}, expected ({', '.join(map(str, x.shape[:1]))},)")
        if rows.device != x.device:
            raise ValueError(f"rows are on {rows.device}, x on {x.device}")
        rows = rows.long()
    if use_reference(x.device):
        return dropout_reference(x, share, seed, stream, rows)
    return DropoutFunction.apply(x, seed, rows, float(share), stream)
