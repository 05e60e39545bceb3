"""Attention over a graph's edges: inner products of their ends, a softmax within each row, and the sources' rows.

edge_dots and source_rows have no kernels of their own: they are made of the steps of :mod:`mde_fast.kernels.spmm`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..csr import CSRGraph
from ..dispatch import use_reference
from ..spmm.primitives import Edges, edge_dot, edges_of, row_sum
from .primitives import Rows, edge_softmax_backward, edge_softmax_forward, rows_of
from .reference import edge_dots_reference, edge_softmax_reference, source_rows_reference

__all__ = ["edge_dots", "edge_softmax", "source_rows"]


class EdgeDotsFunction(torch.autograd.Function):
    """The gradient of left is A right with the incoming gradient as A's values, that of right is A^T left."""

    @staticmethod
    def forward(
        ctx, left: Tensor, right: Tensor, edges: Edges, transposed: Edges | None, order: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.edges, ctx.transposed, ctx.order = edges, transposed, order
        return edge_dot(edges.rowptr, edges.columns, edges.pieces, left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        left, right = ctx.saved_tensors
        grad_left = grad_right = None
        if ctx.needs_input_grad[0]:
            grad_left = row_sum(*ctx.edges._replace(values=grad.contiguous()), right, None, 1.0)
        if ctx.needs_input_grad[1]:
            values = grad.index_select(0, ctx.order)
            grad_right = row_sum(*ctx.transposed._replace(values=values), left, None, 1.0)
        return grad_left, grad_right, None, None, None


class EdgeSoftmaxFunction(torch.autograd.Function):
    """ds = alpha (dalpha - sum over the row of alpha dalpha)."""

    @staticmethod
    def forward(ctx, scores: Tensor, rows: Rows) -> Tensor:
        alpha = edge_softmax_forward(*rows, scores)
        ctx.save_for_backward(alpha)
        ctx.rows = rows
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (alpha,) = ctx.saved_tensors
        return edge_softmax_backward(*ctx.rows, grad, alpha), None


class SourceRowsFunction(torch.autograd.Function):
    """Each node's gradient is the sum over the edges that leave it: a row sum of the transpose."""

    @staticmethod
    def forward(ctx, table: Tensor, columns: Tensor, leaving: Edges | None) -> Tensor:
        ctx.leaving = leaving
        return table.index_select(0, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return row_sum(*ctx.leaving, grad, None, 1.0), None, None


def edge_dots(graph: CSRGraph, left: Tensor, right: Tensor) -> Tensor:
    """``<left_r, right_c>`` for each edge (r, c).

    Args:
        graph: (R, C); its values are not read.
        left: (R, D), floating point.
        right: (C, D) of the same type.

    Returns:
        (edges,) in the graph's edge order.

    Raises:
        ValueError: shapes or devices do not match the graph or each other.
        TypeError: not floating point, or two types.
    """
    graph.require_operand(left, graph.shape[0], "left")
    graph.require_operand(right, graph.shape[1], "right")
    if left.shape[1] != right.shape[1]:
        raise ValueError(f"left has {left.shape[1]} columns and right {right.shape[1]}, expected one number")
    if left.dtype != right.dtype:
        raise TypeError(f"left is {left.dtype} and right {right.dtype}: convert one")
    if use_reference(graph.device):
        return edge_dots_reference(graph, left, right)
    transposed = order = None
    if torch.is_grad_enabled() and right.requires_grad:
        order = graph.transpose_order()
        # A graph that is its own transpose may hold its columns in another order than its edges transposed.
        transposed = edges_of(graph.transpose(), right.dtype)._replace(columns=graph.rows()[order])
    return EdgeDotsFunction.apply(left, right, edges_of(graph, right.dtype), transposed, order)


def edge_softmax(graph: CSRGraph, scores: Tensor) -> Tensor:
    """``exp(s_e) / sum of exp(s_f) over the edges f of e's row``, for each edge e.

    Args:
        graph: (R, C); its values are not read.
        scores: (edges,), floating point, in the graph's edge order. Large ones do not overflow.

    Returns:
        (edges,), adding up to 1 in each row that has an edge.

    Raises:
        ValueError: another number of scores than edges, or another device.
        TypeError: not floating point.
    """
    if scores.shape != graph.columns.shape:
        raise ValueError(f"scores have shape {tuple(scores.shape)}, expected ({graph.num_edges},), one for each edge")
    if scores.device != graph.device:
        raise ValueError(f"scores are on {scores.device} and the graph on {graph.device}: move one of them with .to()")
    if not scores.is_floating_point():
        raise TypeError(f"scores are {scores.dtype}, expected floating point")
    if use_reference(graph.device):
        return edge_softmax_reference(graph, scores)
    return EdgeSoftmaxFunction.apply(scores, rows_of(graph))


def source_rows(graph: CSRGraph, table: Tensor) -> Tensor:
    """``table[c]`` for each edge (r, c): what belongs to the node that a message comes from.

    Args:
        graph: (R, C); its values are not read.
        table: (C, K), floating point.

    Returns:
        (edges, K) in the graph's edge order.

    Raises:
        ValueError: a table that does not have C rows, or another device.
        TypeError: not floating point.
    """
    graph.require_operand(table, graph.shape[1], "table")
    if use_reference(graph.device):
        return source_rows_reference(graph, table)
    leaving = None
    if torch.is_grad_enabled() and table.requires_grad:
        # The graph with a column for each edge: row c has those that leave node c.
        edges, order = edges_of(graph.transpose(), table.dtype), graph.transpose_order()
        leaving = edges._replace(columns=order, rowptr=edges.rowptr.to(order.dtype), values=None, constant=1.0)
    return SourceRowsFunction.apply(table, graph.columns, leaving)
