"""CPU path of draw_negatives: one binary search over all keys."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_negatives_cpu(candidates: Tensor, rowptr: Tensor, keys: Tensor, users: Tensor, bits: Tensor) -> Tensor:
    count = candidates.numel()
    start = rowptr[users]
    draw = bits % (count - (rowptr[users + 1] - start))
    before = torch.searchsorted(keys, users * (count + 1) + draw, right=True) - start
    return candidates[draw + before]
