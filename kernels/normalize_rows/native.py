"""Launchers of the native normalize_rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..native import ELEMENTS, call
from .cpu import NORM_EPS, contiguous_parts, empty_gradients, empty_results, joined


def normalize_rows_forward_native(
    tensors: Sequence[Tensor], scale: float, columns: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    tables = joined(tensors, columns)
    results = empty_results(tables)
    for x, out, norms in contiguous_parts(tables, *results):
        sizes = norms.numel(), x.shape[-1], float(scale)
        call("normalize_rows_forward", ELEMENTS[x.dtype], x, *sizes, NORM_EPS, out, norms)
    return results


def normalize_rows_backward_native(
    grad: Tensor,
    grad_norms: Tensor | None,
    norms: Tensor,
    tensors: Sequence[Tensor],
    scale: float,
    columns: Sequence[int] = (),
) -> list[Tensor]:
    tables = joined(tensors, columns)
    gradients = empty_gradients(tables)
    for grad_x, (x, dy, d_norm, norm) in zip(gradients, contiguous_parts(tables, grad, grad_norms, norms)):
        sizes = norm.numel(), x.shape[-1], float(scale)
        call("normalize_rows_backward", ELEMENTS[x.dtype], dy, d_norm, x, norm, *sizes, NORM_EPS, grad_x)
    return gradients
