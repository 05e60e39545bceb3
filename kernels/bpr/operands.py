"""What both directions of bpr are given, in the order of the registered operators."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Operands(NamedTuple):
    """See :func:`mde_fast.kernels.bpr` for shapes and meanings; what may be None is optional."""

    h_users: Tensor
    h_items: Tensor
    users: Tensor
    positives: Tensor
    negatives: Tensor
    user_logits: Tensor | None
    item_logits: Tensor | None
    fusion: str
