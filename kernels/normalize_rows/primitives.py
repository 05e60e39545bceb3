"""The two directions of normalize_rows, as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from .cpu import empty_gradients, empty_results, normalize_rows_backward_cpu, normalize_rows_forward_cpu

# (..., D) scale * x / |x| of the stacked tables and (...) the norms that were divided by.
normalize_rows_forward = Primitive(
    "normalize_rows_forward(Tensor[] tables, float scale) -> (Tensor, Tensor)",
    cpu=normalize_rows_forward_cpu,
    fake=lambda tables, scale: empty_results(tables),
)

# The gradient of each table, from those of the result and, unless it is None, of the norms.
normalize_rows_backward = Primitive(
    "normalize_rows_backward(Tensor grad, Tensor? grad_norms, Tensor norms, Tensor[] tables, float scale) -> Tensor[]",
    cpu=normalize_rows_backward_cpu,
    fake=lambda grad, grad_norms, norms, tables, scale: empty_gradients(tables),
)
