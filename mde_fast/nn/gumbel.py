"""Gumbel noise that follows from a seed alone, on every device, eagerly and in a replayed CUDA graph."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.counted_bits import WEYL, splitmix64_rounds


def gumbel_noise(shape: tuple[int, ...], seed: Tensor) -> Tensor:
    """float32 numbers -log(-log(u)), u uniform between 0 and 1: SplitMix64 of an element's number and the seed ()."""
    mixed = splitmix64_rounds(torch.arange(1, torch.Size(shape).numel() + 1, device=seed.device) * WEYL + seed)
    uniform = (((mixed >> 11) & (2**24 - 1)).double() + 0.5) / 2**24  # float32 has no number between the last and 1
    return -(-uniform.log()).log().float().view(shape)
