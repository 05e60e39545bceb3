"""What ``precision`` means for products with items' features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The types that features are read in; tf32 keeps float32 numbers and rounds inside the product.
FEATURE_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


def working_dtype(features: torch.Tensor, precision: str) -> torch.dtype:
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
