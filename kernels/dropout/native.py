"""Launcher of the native dropout."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call
from .cpu import lowest_kept


def dropout_apply_native(x: Tensor, seed: Tensor, rows: Tensor | None, share: float, stream: int) -> Tensor:
    x = x.contiguous()
    out = x.new_empty(x.shape)
    rows = None if rows is None else rows.long().contiguous()
    width = x.numel() // max(1 if rows is None else len(rows), 1)
    call(
        "dropout_apply", ELEMENTS[x.dtype], x, seed.long(), rows, stream, lowest_kept(share), 1 / (1 - share),
        x.numel(), width, out,
    )  # fmt: skip
    return out
