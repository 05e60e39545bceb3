"""A linear layer on items' features: of all items, or of a batch's alone where no other item's content counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..dispatch import use_reference
from .precision import FEATURE_DTYPES
from .primitives import project_rows_backward, project_rows_forward
from .reference import project_rows_reference

__all__ = ["project_rows"]


class ProjectRowsFunction(torch.autograd.Function):
    """Keeps nothing but its arguments; features are read again on the way back."""

    @staticmethod
    def forward(
        ctx, features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None, precision: str
    ) -> Tensor:
        ctx.save_for_backward(features, items, weight)
        ctx.precision = precision
        return project_rows_forward(features, items, weight, bias, precision)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        train_features, _, _, train_bias, _ = ctx.needs_input_grad
        features, weight = project_rows_backward(grad, *ctx.saved_tensors, ctx.precision, train_features)
        return features if train_features else None, None, weight, grad.sum(0) if train_bias else None, None


def project_rows(
    features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None = None, *, precision: str = "fp32"
) -> Tensor:
    """``features[items] @ weight.T + bias``, differentiable in the features, the weight and the bias.

    The items' features are nowhere held as a matrix of their own, unless a GPU has no Triton. A batch of more rows than
    there are items is projected item by item.

    Args:
        features: (I, F), floating point.
        items: (n,) int32 or int64 rows, in any order, repeated or not; None for every item, in order.
        weight: (D, F), floating point.
        bias: (D,) of the weight's type, or None for none.
        precision: of the products: ``fp32``, that is in the features' own type; ``tf32``, float32 rounded to 10 bits
            inside the products of a GPU; ``bf16``, bfloat16 factors and float32 sums.

    Returns:
        (n, D) in the weight's dtype.

    Raises:
        ValueError: shapes or devices that do not match, or another precision.
        TypeError: features or weight are not floating point, items not int32 or int64, or a bias of another type.
    """
    if precision not in FEATURE_DTYPES:
        raise ValueError(f"precision={precision!r}: choose from {', '.join(FEATURE_DTYPES)}")
    for name, matrix in (("features", features), ("weight", weight)):
        if not matrix.is_floating_point():
            raise TypeError(f"{name} has {matrix.dtype}, expected floating point")
    if features.ndim != 2 or weight.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise ValueError(f"features {tuple(features.shape)} and weight {tuple(weight.shape)} must be (I, F) and (D, F)")
    if items is not None and items.ndim != 1:
        raise ValueError(f"items has shape {tuple(items.shape)}, expected (n,)")
    if items is not None and items.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"items has {items.dtype}, expected int32 or int64")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},) for the weight")
    if bias is not None and bias.dtype != weight.dtype:
        raise TypeError(f"bias has {bias.dtype}, expected {weight.dtype} as the weight")
    for name, tensor in (("items", items), ("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.device != features.device:
            raise ValueError(f"{name} is on {tensor.device} and features on {features.device}: move one of them")
    if use_reference(features.device):
        return project_rows_reference(features, items, weight, bias)
    return ProjectRowsFunction.apply(features, items, weight, bias, precision)
