"""The two steps under every product with a graph, as registered operators without autograd."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..csr import CSRGraph
from ..dispatch import Primitive, implementation
from .cpu import edge_dot_cpu, row_sum_cpu, row_sum_into_cpu


class Edges(NamedTuple):
    """A graph's tensors as :data:`row_sum` takes them.

    Attributes:
        rowptr, columns: the CSR structure.
        values: (edges,) edge values, or None.
        scale: (N,) D^-1/2 when the value of edge (r, c) is ``scale[r] * scale[c]``, or None.
        constant: every edge's value when both are None.
        pieces, splits, num_slots: see :class:`mde_fast.kernels.csr.Pieces`; None and 0 where they are not used.
    """

    rowptr: Tensor
    columns: Tensor
    values: Tensor | None
    scale: Tensor | None
    constant: float
    pieces: Tensor | None
    splits: Tensor | None
    num_slots: int


def edges_of(graph: CSRGraph, dtype: torch.dtype, *, degree_scaled: bool = False) -> Edges:
    """The tensors of a graph for products in ``dtype``.

    Args:
        degree_scaled: use D^-1/2 A D^-1/2 (eq. 2) instead of the graph's own values. The GPU kernels compute these from
            the degrees; elsewhere reading a stored value is faster.
    """
    values = scale = None
    if implementation(graph.device) == "triton":
        pieces = graph.pieces()
        if degree_scaled:
            scale = graph.inverse_sqrt_degrees(dtype)
        elif graph.values is not None:
            values = graph.edge_values(dtype)
    else:
        pieces = (None, None, 0)
        if degree_scaled:
            values = graph.normalised_values(dtype)
        elif graph.values is not None:
            values = graph.edge_values(dtype)
    return Edges(graph.rowptr, graph.columns, values, scale, graph.constant, *pieces)


def _row_sum_fake(rowptr, columns, values, scale, constant, pieces, splits, num_slots, x, residual, out_scale):
    return x.new_empty(rowptr.shape[0] - 1, x.shape[1])


def _edge_dot_fake(rowptr, columns, pieces, left, right):
    return right.new_empty(columns.shape[0])


# (rows, D): out_scale * (residual_r + sum over the edges e of row r of value_e * x[columns_e]).
row_sum = Primitive(
    "row_sum(Tensor rowptr, Tensor columns, Tensor? values, Tensor? scale, float constant, Tensor? pieces, "
    "Tensor? splits, int num_slots, Tensor x, Tensor? residual, float out_scale) -> Tensor",
    cpu=row_sum_cpu,
    fake=_row_sum_fake,
)

# The same, written into a contiguous tensor of these rows.
row_sum_into = Primitive(
    "row_sum_into(Tensor rowptr, Tensor columns, Tensor? values, Tensor? scale, float constant, Tensor? pieces, "
    "Tensor? splits, int num_slots, Tensor x, Tensor? residual, float out_scale, Tensor(a!) out) -> ()",
    cpu=row_sum_into_cpu,
    fake=lambda *arguments: None,
)

# (edges,): <left[row of e], right[columns_e]>, the gradient of the values of row_sum.
edge_dot = Primitive(
    "edge_dot(Tensor rowptr, Tensor columns, Tensor? pieces, Tensor left, Tensor right) -> Tensor",
    cpu=edge_dot_cpu,
    fake=_edge_dot_fake,
)
