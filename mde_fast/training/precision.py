"""Whether bfloat16 products pay on this CPU: without instructions for them they are a hundred times slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..kernels.measured import milliseconds
from .options import TrainingOptions

SHAPE = (512, 1024, 256)  # of the product that is measured: that of a small tower, a millisecond in float32


class ProductTimes(NamedTuple):
    """Milliseconds of one matrix product on this CPU, with the threads that there are."""

    float32: float
    bfloat16: float

    def __str__(self) -> str:
        m, k, n = SHAPE
        return f"{self.bfloat16:.3g} ms in bf16, {self.float32:.3g} ms in float32 for a product of {m} x {k} x {n}"


def product_times() -> ProductTimes:
    """Measured once per machine."""
    m, k, n = SHAPE

    def product(dtype: torch.dtype) -> Callable[[], Tensor]:
        left, right = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
        return lambda: torch.mm(left, right)

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    times = milliseconds(f"product of {m} x {k} x {n}", {name: product(dtype) for name, dtype in dtypes.items()})
    return ProductTimes(**times)


def slower_than_float32(options: TrainingOptions, device: torch.device) -> bool:
    """Whether the precision asked for costs time instead of saving it."""
    if options.precision != "bf16" or device.type != "cpu":
        return False
    times = product_times()
    return times.bfloat16 > times.float32
