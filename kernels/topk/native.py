"""Launchers of the native mask_seen and select."""

from __future__ import annotations

import torch
from torch import Tensor

from ..native import ELEMENTS, call
from .cpu import mask_seen_cpu, select_cpu


def mask_seen_native(scores: Tensor, users: Tensor, rowptr: Tensor, columns: Tensor) -> None:
    if not scores.is_contiguous():
        return mask_seen_cpu(scores, users, rowptr, columns)  # it is changed in place
    users = users.long().contiguous()
    call(
        "mask_seen", ELEMENTS[scores.dtype], rowptr.element_size(), scores, users, rowptr, columns, len(users),
        scores.shape[1],
    )  # fmt: skip


def select_native(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if scores.dtype == torch.bfloat16:
        return select_cpu(scores, k)
    scores = scores.contiguous()
    best = scores.new_empty(scores.shape[0], k)
    ranked = torch.empty(best.shape, dtype=torch.int64)
    if best.numel():
        call("select", ELEMENTS[scores.dtype], scores, *scores.shape, k, best, ranked)
    return best, ranked
