"""Features whose rank is known."""

from __future__ import annotations

import torch
from torch import Tensor


def of_rank(rank: int, items: int = 60, columns: int = 24, *, noise: float = 0.0, seed: int = 0) -> Tensor:
    """(items, columns) float32 of that rank, and noise on top of it."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(*shape, generator=generator).double() for shape in ((items, rank), (rank, columns)))
    matrix = left @ right
    return (matrix + noise * matrix.std() * torch.randn(items, columns, generator=generator)).float()
