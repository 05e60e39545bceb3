"""What follows the random bits, as a registered operator."""

from __future__ import annotations

import torch

from ..dispatch import Primitive
from .cpu import draw_negatives_cpu


def _draw_negatives_fake(candidates, rowptr, keys, users, bits):
    return torch.empty_like(users)


# A NegativeTable's tensors, users (B,) and bits (B,) from 0 up -> (B,) items.
draw_negatives = Primitive(
    "draw_negatives(Tensor candidates, Tensor rowptr, Tensor keys, Tensor users, Tensor bits) -> Tensor",
    cpu=draw_negatives_cpu,
    fake=_draw_negatives_fake,
)
