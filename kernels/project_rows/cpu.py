"""CPU path of project_rows: an item that comes several times is projected once, its features read block by block.

On a GPU these calls project the batch's rows, or all items where these are fewer: nothing there may wait for the number
of different items.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import products_in, sum_over_rows, working_dtype

ROWS_PER_BLOCK = 512  # of features: enough for a product at full speed, and in cache between their gather and it


def project_rows_forward_cpu(
    features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None, precision: str
) -> Tensor:
    dtype = working_dtype(features, precision)
    if items is None:
        with products_in(precision):
            projected = F.linear(features.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))
        return projected.to(weight.dtype)
    projected = _project_batch(features, items, weight, precision, dtype).to(weight.dtype)
    return projected if bias is None else projected.add_(bias)


def _project_batch(features: Tensor, items: Tensor, weight: Tensor, precision: str, dtype: torch.dtype) -> Tensor:
    across = weight.T.to(dtype).contiguous()  # (F, D), which a CPU multiplies faster than its transpose
    if features.device.type == "cpu":
        different, place = torch.unique(items, return_inverse=True)
        projected = features.new_empty(len(different), weight.shape[0], dtype=dtype)
        for start, rows in _blocks(features, different, dtype):
            torch.mm(rows, across, out=projected[start : start + len(rows)])
        return projected.index_select(0, place)
    few = len(items) < len(features)
    rows = features.index_select(0, items) if few else features
    with products_in(precision):
        projected = rows.to(dtype) @ across
    return projected if few else projected.index_select(0, items)


def project_rows_backward_cpu(
    grad: Tensor, features: Tensor, items: Tensor | None, weight: Tensor, precision: str, train_features: bool
) -> tuple[Tensor, Tensor]:
    dtype = working_dtype(features, precision)
    if items is None:
        grad = grad.to(dtype)
        with products_in(precision):
            grad_weight = sum_over_rows(grad, features.to(dtype), precision).to(weight.dtype)
        return gradient_of_features(grad if train_features else None, features, weight, precision), grad_weight
    if features.device.type == "cpu":
        different, grad_rows = per_item(grad, items)
        grad_rows = grad_rows.to(dtype)
        grad_weight = grad.new_zeros(weight.shape, dtype=dtype)
        for start, rows in _blocks(features, different, dtype):
            grad_weight.addmm_(grad_rows[start : start + len(rows)].T, rows)
        grad_features = gradient_of_rows(grad_rows, features, different, weight.to(dtype), train_features)
        return grad_features, grad_weight.to(weight.dtype)
    few = len(items) < len(features)
    everywhere = None if few and not train_features else gradient_of_all(grad, features, items, dtype)
    if few or everywhere is None:
        rows, grad_rows = features.index_select(0, items), grad.to(dtype)
    else:
        rows, grad_rows = features, everywhere
    with products_in(precision):
        grad_weight = sum_over_rows(grad_rows, rows.to(dtype), precision).to(weight.dtype)
    return gradient_of_features(everywhere if train_features else None, features, weight, precision), grad_weight


def per_item(grad: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """The batch's different items (m,), and their rows' gradients added up (m, D)."""
    different, place = torch.unique(items, return_inverse=True)
    return different, grad.new_zeros(len(different), grad.shape[1]).index_add_(0, place, grad)


def gradient_of_rows(
    grad_rows: Tensor, features: Tensor, items: Tensor, weight: Tensor, train_features: bool
) -> Tensor:
    """(I, F): of different items the products of gradients (m, D) and weight (D, F), else zeros; (0,) of none."""
    gradient = features.new_zeros(features.shape if train_features else 0)
    for start in range(0, len(items) if train_features else 0, ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        gradient[items[block]] = (grad_rows[block] @ weight).to(features.dtype)
    return gradient


def gradient_of_all(grad: Tensor, features: Tensor, items: Tensor, dtype: torch.dtype) -> Tensor:
    """(I, D) the batch's gradients, added up for each item; they are sorted before, so that bits repeat on a GPU."""
    return torch.ops.aten.embedding_dense_backward(grad, items, len(features), -1, False).to(dtype)


def gradient_of_features(everywhere: Tensor | None, features: Tensor, weight: Tensor, precision: str) -> Tensor:
    """(I, F) from the gradient of all items' projections, or (0,) where features are not trained."""
    if everywhere is None:
        return features.new_empty(0)
    with products_in(precision):
        return (everywhere @ weight.to(everywhere.dtype)).to(features.dtype)


def _blocks(features: Tensor, items: Tensor, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    """Where a block of items starts, and its features (at most ROWS_PER_BLOCK, F), overwritten by the next block."""
    gathered = features.new_empty(min(ROWS_PER_BLOCK, len(items)), features.shape[1])
    for start in range(0, len(items), ROWS_PER_BLOCK):
        chosen = items[start : start + ROWS_PER_BLOCK]
        yield start, torch.index_select(features, 0, chosen, out=gathered[: len(chosen)]).to(dtype)
