"""A linear projection of the features of a batch's items alone, for steps where no other item's content counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# What --precision means for the towers' matrix products; tf32 keeps float32 numbers and rounds inside the product.
FEATURE_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
ROWS_PER_BLOCK = 128  # of features: a block stays in a processor's cache between its gather and its product


def project_rows(features: Tensor, items: Tensor, weight: Tensor, *, precision: str = "fp32") -> Tensor:
    """``features[items] @ weight.T``, differentiable in the features and the weight.

    On a CPU an item that comes several times is projected once, and its features are read block by block. On a GPU,
    where nothing may wait for the number of different items, the rows of the batch are projected, or all items where
    these are fewer.

    Args:
        features: (I, F).
        items: (n,) int64 rows, in any order, repeated or not.
        weight: (D, F).
        precision: of the products, one of FEATURE_DTYPES.

    Returns:
        (n, D) in the weight's dtype.
    """
    return _ProjectRows.apply(features, items, weight, precision)


@contextmanager
def tf32_products() -> Iterator[None]:
    """The process's float32 products on a GPU are made in TF32 meanwhile."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _forward(features: Tensor, items: Tensor, weight: Tensor, precision: str) -> Tensor:
    dtype = _working(features, precision)
    across = weight.T.to(dtype).contiguous()  # (F, D), which a CPU multiplies faster than its transpose
    if features.device.type == "cpu":
        different, place = torch.unique(items, return_inverse=True)
        projected = features.new_empty(len(different), weight.shape[0], dtype=dtype)
        for start, rows in _blocks(features, different, dtype):
            torch.mm(rows, across, out=projected[start : start + len(rows)])
    else:
        few = items.shape[0] < features.shape[0]
        place = None if few else items
        rows = features.index_select(0, items) if few else features
        with tf32_products() if precision == "tf32" else nullcontext():
            projected = rows.to(dtype) @ across
    return (projected if place is None else projected.index_select(0, place)).to(weight.dtype)


def _backward(
    grad: Tensor, features: Tensor, items: Tensor, weight: Tensor, precision: str, train_features: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the features, empty where they are not trained, and of the weight."""
    dtype = _working(features, precision)
    if features.device.type == "cpu":
        different, place = torch.unique(items, return_inverse=True)
        grad_rows = grad.new_zeros(len(different), grad.shape[1]).index_add_(0, place, grad).to(dtype)
        grad_weight = grad.new_zeros(weight.shape, dtype=dtype)
        for start, rows in _blocks(features, different, dtype):
            grad_weight.addmm_(grad_rows[start : start + len(rows)].T, rows)
        grad_features = features.new_zeros(features.shape if train_features else 0)
        if train_features:
            along = weight.to(dtype)
            for start in range(0, len(different), ROWS_PER_BLOCK):
                block = slice(start, start + ROWS_PER_BLOCK)
                grad_features[different[block]] = (grad_rows[block] @ along).to(features.dtype)
        return grad_features, grad_weight.to(weight.dtype)
    # In no order of its own: a row's gradients are sorted before they are added, so that bits repeat.
    few = items.shape[0] < features.shape[0]
    everywhere = grad  # not read where only few rows matter
    if train_features or not few:
        everywhere = torch.ops.aten.embedding_dense_backward(grad, items, features.shape[0], -1, False).to(dtype)
    grad_rows = grad.to(dtype) if few else everywhere
    rows = features.index_select(0, items) if few else features
    with tf32_products() if precision == "tf32" else nullcontext():
        grad_weight = grad_rows.T @ rows.to(dtype)
        grad_features = everywhere @ weight.to(dtype) if train_features else features.new_empty(0)
    return grad_features.to(features.dtype), grad_weight.to(weight.dtype)


def _working(features: Tensor, precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else features.dtype


def _blocks(features: Tensor, items: Tensor, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
    """Where a block of items starts, and its features (at most ROWS_PER_BLOCK, F), overwritten by the next block."""
    gathered = features.new_empty(min(ROWS_PER_BLOCK, len(items)), features.shape[1])
    for start in range(0, len(items), ROWS_PER_BLOCK):
        chosen = items[start : start + ROWS_PER_BLOCK]
        yield start, torch.index_select(features, 0, chosen, out=gathered[: len(chosen)]).to(dtype)


def _forward_shape(features: Tensor, items: Tensor, weight: Tensor, precision: str) -> Tensor:
    return weight.new_empty(items.shape[0], weight.shape[0])


def _backward_shape(
    grad: Tensor, features: Tensor, items: Tensor, weight: Tensor, precision: str, train_features: bool
) -> tuple[Tensor, Tensor]:
    return features.new_empty(features.shape if train_features else (0,)), weight.new_empty(weight.shape)


def _registered(schema: str, run: Callable, fake: Callable) -> Callable:
    """``run``, and under torch.compile, which could not follow the number of different items, an operator in one piece.

    A :class:`mde_fast.kernels.dispatch.Primitive` without a kernel of its own: the products are the libraries'.
    """
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"mde_fast::{name}", fake, lib=_library)
    whole = getattr(torch.ops.mde_fast, name).default
    return lambda *arguments: (whole if torch.compiler.is_compiling() else run)(*arguments)


_library = torch.library.Library("mde_fast", "FRAGMENT")
_project_rows_forward = _registered(
    "project_rows_forward(Tensor features, Tensor items, Tensor weight, str precision) -> Tensor",
    _forward,
    _forward_shape,
)
_project_rows_backward = _registered(
    "project_rows_backward(Tensor grad, Tensor features, Tensor items, Tensor weight, str precision, "
    "bool train_features) -> (Tensor, Tensor)",
    _backward,
    _backward_shape,
)


class _ProjectRows(torch.autograd.Function):
    """Keeps nothing but its arguments; features are read again on the way back."""

    @staticmethod
    def forward(ctx, features: Tensor, items: Tensor, weight: Tensor, precision: str) -> Tensor:
        ctx.save_for_backward(features, items, weight)
        ctx.precision = precision
        return _project_rows_forward(features, items, weight, precision)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        train_features = ctx.needs_input_grad[0]
        features, weight = _project_rows_backward(grad, *ctx.saved_tensors, ctx.precision, train_features)
        return features if train_features else None, None, weight, None
