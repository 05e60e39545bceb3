"""PyTorch's layers, with their initial parameters drawn from a generator instead of the process's own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def linear(inputs: int, outputs: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """``nn.Linear(inputs, outputs)`` with the initial values that it gives itself, drawn from ``generator``."""
    layer: Any = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    if bias:
        bound = 1 / math.sqrt(inputs) if inputs else 0.0
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
