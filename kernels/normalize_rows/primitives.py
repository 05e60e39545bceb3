"""The two directions of normalize_rows, as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from ..support import accumulation_dtype
from .cpu import normalize_rows_backward_cpu, normalize_rows_forward_cpu


def _forward_fake(x, scale):
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=accumulation_dtype(x.dtype))


def _backward_fake(grad, out, norm, scale):
    return grad.new_empty(grad.shape)


# (..., D) scale * x / |x| and (...) the norms that were divided by.
normalize_rows_forward = Primitive(
    "normalize_rows_forward(Tensor x, float scale) -> (Tensor, Tensor)",
    cpu=normalize_rows_forward_cpu,
    fake=_forward_fake,
)

# (..., D) the gradient of x, from both results of the forward pass.
normalize_rows_backward = Primitive(
    "normalize_rows_backward(Tensor grad, Tensor out, Tensor norm, float scale) -> Tensor",
    cpu=normalize_rows_backward_cpu,
    fake=_backward_fake,
)
