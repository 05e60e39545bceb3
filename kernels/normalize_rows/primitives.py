"""The two directions of normalize_rows, as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import Primitive
from .cpu import empty_gradients, empty_results, joined_shapes, normalize_rows_backward_cpu, normalize_rows_forward_cpu

# (..., D) scale * x / |x| of the stacked tables and (...) the norms that were divided by. ``columns`` says how many
# tensors each table is made of, stacked along their second dimension; 0 if it is one itself, as all are by default.
normalize_rows_forward = Primitive(
    "normalize_rows_forward(Tensor[] tensors, float scale, int[] columns=[]) -> (Tensor, Tensor)",
    cpu=normalize_rows_forward_cpu,
    fake=lambda tensors, scale, columns=(): empty_results(joined_shapes(tensors, columns)),
)

# The gradient of each table, from those of the result and, unless it is None, of the norms.
normalize_rows_backward = Primitive(
    "normalize_rows_backward(Tensor grad, Tensor? grad_norms, Tensor norms, Tensor[] tensors, float scale, "
    "int[] columns=[]) -> Tensor[]",
    cpu=normalize_rows_backward_cpu,
    fake=lambda grad, grad_norms, norms, tensors, scale, columns=(): empty_gradients(joined_shapes(tensors, columns)),
)
