"""The one step of dropout, which is its own backward pass, as a registered operator without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from .cpu import dropout_apply_cpu


def _apply_fake(x, seed, rows, share, stream):
    return x.new_empty(x.shape)


# x's shape: what stays of x, scaled; seed has one element, rows (x.shape[0],) or None.
dropout_apply = Primitive(
    "dropout_apply(Tensor x, Tensor seed, Tensor? rows, float share, int stream) -> Tensor",
    cpu=dropout_apply_cpu,
    fake=_apply_fake,
)
