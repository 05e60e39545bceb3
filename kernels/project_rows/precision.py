"""What ``precision`` means for products with items' features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

# The types that features are read in; tf32 keeps float32 numbers and rounds inside the product.
FEATURE_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def working_dtype(features: Tensor, precision: str) -> torch.dtype:
    """The type of a product's factors: bfloat16 if so it is said, or the features' own."""
    return torch.bfloat16 if precision == "bf16" else features.dtype


@contextmanager
def tf32_products() -> Iterator[None]:
    """The process's float32 products on a GPU are made in TF32 meanwhile."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


@contextmanager
def float32_sums() -> Iterator[None]:
    """The process's bfloat16 products on a GPU add up in float32 meanwhile, also where several programs share a sum."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_bf16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction_split_k
    matmul.allow_bf16_reduced_precision_reduction = False, before[1]
    try:
        yield
    finally:
        matmul.allow_bf16_reduced_precision_reduction = before


def products_in(precision: str) -> AbstractContextManager[None]:
    """Products on a GPU are made meanwhile as ``precision`` has them."""
    return {"tf32": tf32_products, "bf16": float32_sums}.get(precision, nullcontext)()


def sum_over_rows(left: Tensor, right: Tensor, precision: str) -> Tensor:
    """left.T @ right within :func:`products_in`; of bfloat16 in float32, which an NVIDIA GPU does not round before."""
    if precision != "bf16":
        return torch.mm(left.T, right)
    if left.is_cuda and torch.version.hip is None:
        return torch.mm(left.T, right, out_dtype=torch.float32)
    return torch.mm(left.T, right).float()
