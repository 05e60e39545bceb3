"""Row L2-normalisation of the inputs E(0), of one table or of several on top of each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import implementation, use_reference
from .primitives import normalize_rows_backward, normalize_rows_forward
from .reference import normalize_rows_reference

__all__ = ["normalize_rows", "normalize_rows_with_norms"]


class NormalizeRowsFunction(torch.autograd.Function):
    """y = s x / |x|; dx = (s / |x|) (dy - <dy, x/|x|> x/|x|) + d|x| x/|x|.

    Keeps the tables, which are there anyway, not the result: a step holds one array of all nodes less.
    """

    @staticmethod
    def forward(ctx, scale: float, columns: tuple[int, ...], *tensors: Tensor) -> tuple[Tensor, Tensor]:
        out, norms = normalize_rows_forward(list(tensors), scale, columns)
        ctx.save_for_backward(norms, *tensors)
        ctx.scale, ctx.columns = scale, columns
        ctx.set_materialize_grads(False)
        return out, norms

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor | None, grad_norms: Tensor | None):
        norms, *tensors = ctx.saved_tensors
        if grad is None:
            grad = tensors[0].new_zeros(()).expand(norms.shape + tensors[0].shape[-1:])
        gradients = normalize_rows_backward(grad, grad_norms, norms, tensors, ctx.scale, ctx.columns)
        pairs = zip(gradients, ctx.columns)
        return None, None, *(each for table, count in pairs for each in (table.unbind(1) if count else (table,)))


def normalize_rows(*tables: Tensor | Sequence[Tensor], scale: float = 1.0) -> Tensor:
    """``scale * x / ||x||_2`` along the last dimension: E(0) of the model, each modality of each node by itself.

    Inferred, not stated by the paper: without it the difference that eq. 6 amplifies has no bound.

    Args:
        tables: (..., D), floating point. A zero row stays zero. Several, such as users and items, are stacked along
            their first dimension, as ``normalize_rows(torch.cat(tables))`` without that copy. A sequence of M tensors
            (R, D) is the table (R, M, D) that they make when they are stacked, such as of the towers of M modalities; a
            GPU reads them where they are.
        scale: norm of the result's rows, not 0.

    Returns:
        The shape of the table, or of the stacked ones.

    Raises:
        ValueError: no table, no dimension to normalise, tables of different shapes or types, or scale 0.
    """
    return normalize_rows_with_norms(*tables, scale=scale)[0]


def normalize_rows_with_norms(*tables: Tensor | Sequence[Tensor], scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """:func:`normalize_rows` and the norms that it divided by, at least 1e-12: for a regulariser of the same rows.

    Returns:
        (..., D) the normalised rows, and (...) their norms before, in float32 (float64 for float64).
    """
    if not tables:
        raise ValueError("no table to normalise: expected one (..., D) or several")
    groups = [(table,) if isinstance(table, Tensor) else _columns(table) for table in tables]
    counts = [0 if isinstance(table, Tensor) else len(table) for table in tables]
    if any(counts) and (use_reference(groups[0][0].device) or implementation(groups[0][0].device) != "triton"):
        # Only a program that owns a few rows can read them from several places at no cost.
        groups = [(torch.stack(group, dim=1),) if count else group for group, count in zip(groups, counts)]
        counts = [0] * len(counts)
    _check([group[0][:, None] if count else group[0] for group, count in zip(groups, counts)], counts, scale)
    tensors = [each for group in groups for each in group]
    if use_reference(tensors[0].device):
        return normalize_rows_reference(tensors, scale)
    return NormalizeRowsFunction.apply(scale, tuple(counts), *tensors)


def _columns(columns: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tensors that can be stacked."""
    kinds = {(tuple(column.shape), column.dtype) for column in columns}
    if len(kinds) != 1 or columns[0].ndim != 2:
        found = ", ".join(f"{shape} {dtype}" for shape, dtype in sorted(kinds, key=str)) or "none"
        raise ValueError(f"columns of a table must be one or more tensors of one shape (R, D) and type, got {found}")
    return tuple(columns)


def _check(tables: Sequence[Tensor], counts: Sequence[int], scale: float) -> None:
    """Of a table of several columns the first one, (R, 1, D)."""
    first = tables[0]
    if first.ndim == 0:
        raise ValueError("x is a scalar, expected (..., D)")
    shapes = [
        (table.shape[0], count, table.shape[2]) if count else tuple(table.shape) for table, count in zip(tables, counts)
    ]
    for table, shape in zip(tables[1:], shapes[1:]):
        if table.ndim < 2 or shape[1:] != shapes[0][1:] or table.dtype != first.dtype:
            raise ValueError(
                f"tables of {shapes[0]} {first.dtype} and {shape} {table.dtype} cannot be "
                "stacked: they may differ in their first dimension alone"
            )
    if scale == 0:
        raise ValueError("scale=0: must not be 0")
