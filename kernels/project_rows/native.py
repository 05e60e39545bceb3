"""Launchers of the native products with items' features, in which rows are read where they lie."""

from __future__ import annotations

import torch
from torch import Tensor

from ..native import ELEMENTS, call, contiguous, within
from .cpu import gradient_of_features, gradient_of_rows, per_item, project_rows_backward_cpu, project_rows_forward_cpu
from .precision import working_dtype

MULTIPLIED = (torch.float32, torch.float64)


def project_rows_forward_native(
    features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None, precision: str
) -> Tensor:
    if not _multiplied(features, weight, precision):
        return project_rows_forward_cpu(features, items, weight, bias, precision)
    different, place = (None, None) if items is None else torch.unique(items, return_inverse=True)
    rows = features.shape[0] if different is None else len(different)
    out = weight.new_empty(rows, weight.shape[0])
    if different is not None:
        different = within(different, features)
    call(
        "project", ELEMENTS[out.dtype], *contiguous(features, different, weight, bias), out, rows, features.shape[1],
        weight.shape[0],
    )  # fmt: skip
    return out if place is None else out.index_select(0, place)


def project_rows_backward_native(
    grad: Tensor, features: Tensor, items: Tensor | None, weight: Tensor, precision: str, train_features: bool
) -> tuple[Tensor, Tensor]:
    if not _multiplied(features, weight, precision):
        return project_rows_backward_cpu(grad, features, items, weight, precision, train_features)
    different, grad_rows = (None, grad) if items is None else per_item(grad, items)
    if different is not None:
        different = within(different, features)
    across, grad_weight = weight.new_empty(grad_rows.mT.shape), weight.new_empty(weight.shape)
    call(
        "project_weight", ELEMENTS[weight.dtype], *contiguous(grad_rows, features, different), across, grad_weight,
        len(grad_rows), features.shape[1], weight.shape[0],
    )  # fmt: skip
    if different is None:
        return gradient_of_features(grad if train_features else None, features, weight, precision), grad_weight
    return gradient_of_rows(grad_rows, features, different, weight, train_features), grad_weight


def _multiplied(features: Tensor, weight: Tensor, precision: str) -> bool:
    """Whether the kernels know the factors' type; TF32 is for GPUs."""
    return working_dtype(features, precision) == weight.dtype and weight.dtype in MULTIPLIED
