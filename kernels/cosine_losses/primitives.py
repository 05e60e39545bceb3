"""Both directions of cosine_losses as registered operators without autograd; pairs are k, l, k, l, ..."""

from __future__ import annotations

from ..dispatch import Primitive
from .cpu import cosine_losses_backward_cpu, cosine_losses_forward_cpu


def _forward_fake(x, target, rows, target_rows, pairs):
    return x.new_empty(len(pairs) // 2)


def _backward_fake(grad, x, target, rows, target_rows, pairs):
    return x.new_empty(x.shape)


_ARGUMENTS = "Tensor x, Tensor target, Tensor? rows, Tensor? target_rows, int[] pairs"

# (P,): the mean of 1 - cosine of each pair.
cosine_losses_forward = Primitive(
    f"cosine_losses_forward({_ARGUMENTS}) -> Tensor",
    cpu=cosine_losses_forward_cpu,
    fake=_forward_fake,
)

# (R, K, D): the gradient of x. That of the target is the same with both sides exchanged.
cosine_losses_backward = Primitive(
    f"cosine_losses_backward(Tensor grad, {_ARGUMENTS}) -> Tensor",
    cpu=cosine_losses_backward_cpu,
    fake=_backward_fake,
)
