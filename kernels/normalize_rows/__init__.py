"""Row L2-normalisation of the inputs E(0), of one table or of several on top of each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .primitives import normalize_rows_backward, normalize_rows_forward
from .reference import normalize_rows_reference

__all__ = ["normalize_rows", "normalize_rows_with_norms"]


class NormalizeRowsFunction(torch.autograd.Function):
    """y = s x / |x|; dx = (s / |x|) (dy - <dy, x/|x|> x/|x|) + d|x| x/|x|.

    Keeps the tables, which are there anyway, not the result: a step holds one array of all nodes less.
    """

    @staticmethod
    def forward(ctx, scale: float, *tables: Tensor) -> tuple[Tensor, Tensor]:
        out, norms = normalize_rows_forward(list(tables), scale)
        ctx.save_for_backward(norms, *tables)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return out, norms

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor | None, grad_norms: Tensor | None):
        norms, *tables = ctx.saved_tensors
        if grad is None:
            grad = tables[0].new_zeros(()).expand(norms.shape + tables[0].shape[-1:])
        return None, *normalize_rows_backward(grad, grad_norms, norms, tables, ctx.scale)


def normalize_rows(*tables: Tensor, scale: float = 1.0) -> Tensor:
    """``scale * x / ||x||_2`` along the last dimension: E(0) of the model, each modality of each node by itself.

    Inferred, not stated by the paper: without it the difference that eq. 6 amplifies has no bound.

    Args:
        tables: (..., D), floating point. A zero row stays zero. Several, such as users and items, are stacked along
            their first dimension, as ``normalize_rows(torch.cat(tables))`` without that copy.
        scale: norm of the result's rows, not 0.

    Returns:
        The shape of the table, or of the stacked ones.

    Raises:
        ValueError: no table, no dimension to normalise, tables of different shapes or types, or scale 0.
    """
    return normalize_rows_with_norms(*tables, scale=scale)[0]


def normalize_rows_with_norms(*tables: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """:func:`normalize_rows` and the norms that it divided by, at least 1e-12: for a regulariser of the same rows.

    Returns:
        (..., D) the normalised rows, and (...) their norms before, in float32 (float64 for float64).
    """
    _check(tables, scale)
    if use_reference(tables[0].device):
        return normalize_rows_reference(tables, scale)
    return NormalizeRowsFunction.apply(scale, *tables)


def _check(tables: tuple[Tensor, ...], scale: float) -> None:
    if not tables:
        raise ValueError("no table to normalise: expected one (..., D) or several")
    first = tables[0]
    if first.ndim == 0:
        raise ValueError("x is a scalar, expected (..., D)")
    for table in tables[1:]:
        if table.ndim < 2 or table.shape[1:] != first.shape[1:] or table.dtype != first.dtype:
            raise ValueError(
                f"tables of {tuple(first.shape)} {first.dtype} and {tuple(table.shape)} {table.dtype} cannot be "
                "stacked: they may differ in their first dimension alone"
            )
    if scale == 0:
        raise ValueError("scale=0: must not be 0")
