"""Row L2-normalisation of the inputs E(0)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .primitives import normalize_rows_backward, normalize_rows_forward
from .reference import normalize_rows_reference

__all__ = ["normalize_rows"]


class NormalizeRowsFunction(torch.autograd.Function):
    """y = s x / |x|; dx = (s / |x|) (dy - <dy, x/|x|> x/|x|)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        out, norm = normalize_rows_forward(x, scale)
        ctx.save_for_backward(out, norm)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return normalize_rows_backward(grad, *ctx.saved_tensors, ctx.scale), None


def normalize_rows(x: Tensor, *, scale: float = 1.0) -> Tensor:
    """``scale * x / ||x||_2`` along the last dimension: E(0) of the model, each modality of each node by itself.

    Inferred, not stated by the paper: without it the difference that eq. 6 amplifies has no bound.

    Args:
        x: (..., D), floating point. A zero row stays zero.
        scale: norm of the result's rows, not 0.

    Returns:
        The same shape.

    Raises:
        ValueError: no dimension to normalise, or scale 0.
    """
    if x.ndim == 0:
        raise ValueError("x is a scalar, expected (..., D)")
    if scale == 0:
        raise ValueError("scale=0: must not be 0")
    if use_reference(x.device):
        return normalize_rows_reference(x, scale)
    return NormalizeRowsFunction.apply(x, scale)
