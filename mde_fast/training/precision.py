"""Whether bfloat16 products pay on this CPU: without instructions for them they are a hundred times slower."""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import torch

from .options import TrainingOptions

SHAPE = (512, 1024, 256)  # of the product that is measured: that of a small tower, a millisecond in float32
REPEATS = 3


class ProductTimes(NamedTuple):
    """Milliseconds of one matrix product on this CPU, with the threads that there are."""

    float32: float
    bfloat16: float

    def __str__(self) -> str:
        m, k, n = SHAPE
        return f"{self.bfloat16:.3g} ms in bf16, {self.float32:.3g} ms in float32 for a product of {m} x {k} x {n}"


@functools.cache
def product_times() -> ProductTimes:
    """Measured once per process."""
    return ProductTimes(_milliseconds(torch.float32), _milliseconds(torch.bfloat16))


def _milliseconds(dtype: torch.dtype) -> float:
    m, k, n = SHAPE
    left, right = torch.ones(m, k, dtype=dtype), torch.ones(k, n, dtype=dtype)
    torch.mm(left, right)  # libraries compile at the first use
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def slower_than_float32(options: TrainingOptions, device: torch.device) -> bool:
    """Whether the precision asked for costs time instead of saving it."""
    if options.precision != "bf16" or device.type != "cpu":
        return False
    times = product_times()
    return times.bfloat16 > times.float32
