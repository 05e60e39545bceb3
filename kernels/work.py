"""What a launch of a kernel moves and computes, said once: for profilers, for predictions and for tests.

Beside the kernels of an operator lies ``work.py``, with a function for each kernel from its arguments by name to a
:class:`Work`. It looks at shapes and types alone, so it needs neither triton nor a GPU. What depends on the numbers in
a tensor, as how many rows of a batch are different, is counted as the most that it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Arguments = Mapping[str, Any]  # of a kernel, by name: tensors, numbers, and what is known when it is compiled

SECTOR = 32  # bytes: the least that an NVIDIA GPU moves for a single number

_WIDTHS = {"fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16}


@dataclass(frozen=True)
class Work:
    """The work of one launch.

    Attributes:
        streamed: bytes that are read or written once.
        gathered: bytes of rows that are read as often as something names them.
        table: bytes of what these rows are gathered from: the least of ``gathered`` that has to come from memory.
        operations: additions and multiplications of sums and products. Exponentials, comparisons and integers are not
            counted: beside the bytes they take no time.
        arithmetic: ``fp64``, ``fp32``, ``tf32``, ``bf16`` or ``fp16``: how products are made, the first two by ordinary
            units, the others by those of matrix products.
        chain: loads of a program of which each needs what the one before it has brought.
    """

    streamed: float
    gathered: float = 0
    table: float = 0
    operations: float = 0
    arithmetic: str = "fp32"
    chain: float = 1

    @property
    def bytes(self) -> float:
        """All that passes between the multiprocessors and their shared cache."""
        return self.streamed + self.gathered

    def metrics(self) -> dict[str, float]:
        """As Triton's profiler Proton names them."""
        return {"bytes": self.bytes, f"flops{_WIDTHS[self.arithmetic]}": self.operations}


def size(*tensors: Tensor) -> int:
    """Bytes of all of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def ordinary(tensor: Tensor) -> str:
    """The arithmetic of sums over a tensor's numbers, which are made in float32 or float64."""
    return "fp64" if tensor.element_size() == 8 else "fp32"


def least(gathered: float, table: float) -> float:
    """Bytes of a table that are read when so many are gathered from it: no more than there are of either."""
    return min(gathered, table)
