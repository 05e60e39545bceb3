"""Furniture that Triton kernels share; imported by them alone, since it imports triton."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton.language as tl

from .support import accumulation_dtype
from .work import Arguments, Work


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """:func:`accumulation_dtype` as kernels name it."""
    return tl.float64 if accumulation_dtype(dtype) == torch.float64 else tl.float32


def metrics_of(work: Callable[[Arguments], Work]) -> Callable[..., dict[str, float]]:
    """``launch_metadata`` of a kernel, which Triton calls for a profiler; the function itself stays in ``work``."""

    def metadata(grid: tuple, compiled: object, arguments: Arguments) -> dict[str, float]:
        return work(plain(arguments)).metrics()

    metadata.work = work
    return metadata


def plain(arguments: Arguments) -> Arguments:
    """Arguments with the numbers that Triton wraps as constants unwrapped."""
    return {name: value.value if isinstance(value, tl.constexpr) else value for name, value in arguments.items()}
