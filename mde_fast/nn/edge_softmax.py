"""Attention over a graph's edges: inner products of their ends, a softmax within each row, and the sources' rows.

Everything here adds up in a fixed order, forward and backward, on a GPU too, so that bits repeat.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..kernels import CSRGraph
from ..kernels.spmm.primitives import Edges, edge_dot, edges_of, row_sum


def edge_dots(graph: CSRGraph, left: Tensor, right: Tensor) -> Tensor:
    """``<left_r, right_c>`` for each edge (r, c).

    Args:
        graph: (R, C); its values are not read.
        left: (R, D), floating point.
        right: (C, D) of the same type.

    Returns:
        (edges,) in the graph's edge order.

    Raises:
        ValueError: shapes or devices do not match the graph.
        TypeError: not floating point.
    """
    graph.require_operand(left, graph.shape[0])
    graph.require_operand(right, graph.shape[1])
    transposed = edges_of(graph.transpose(), right.dtype)._replace(columns=graph.rows()[graph.transpose_order()])
    return _EdgeDots.apply(left, right, edges_of(graph, right.dtype), transposed, graph.transpose_order())


def edge_softmax(graph: CSRGraph, scores: Tensor) -> Tensor:
    """``exp(s_e) / sum of exp(s_f) over the edges f of e's row``, for each edge e.

    Args:
        graph: (R, C); its values are not read.
        scores: (edges,), floating point, in the graph's edge order.

    Returns:
        (edges,), adding up to 1 in each row that has an edge.

    Raises:
        ValueError: another number of scores than edges.
    """
    _require_edges(graph, scores)
    return _EdgeSoftmax.apply(scores, edges_of(graph, scores.dtype), graph.rows().long(), graph.shape[1])


def source_rows(graph: CSRGraph, table: Tensor) -> Tensor:
    """``table[c]`` for each edge (r, c): what belongs to the node that a message comes from.

    Args:
        graph: (R, C).
        table: (C, K), floating point.

    Returns:
        (edges, K) in the graph's edge order.

    Raises:
        ValueError: a table that does not have C rows.
    """
    graph.require_operand(table, graph.shape[1])
    transposed = edges_of(graph.transpose(), table.dtype)
    incoming = transposed._replace(columns=graph.transpose_order(), rowptr=transposed.rowptr.long())
    return _SourceRows.apply(table, graph.columns, incoming)


def _require_edges(graph: CSRGraph, scores: Tensor) -> None:
    if scores.shape != graph.columns.shape:
        raise ValueError(f"{scores.numel()} scores for a graph of {graph.num_edges} edges")


def _sums(edges: Edges, values: Tensor, columns: int) -> Tensor:
    """(R,) the sum of each row's values: a product with ones, whose order of addition is fixed."""
    return row_sum(*edges._replace(values=values), values.new_ones(columns, 1), None, 1.0)[:, 0]


class _EdgeDots(torch.autograd.Function):
    """The gradient of left is A right with the incoming gradient as A's values, that of right is A^T left."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, edges: Edges, transposed: Edges, order: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.edges, ctx.transposed, ctx.order = edges, transposed, order
        return edge_dot(edges.rowptr, edges.columns, edges.pieces, left, right)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        left, right = ctx.saved_tensors
        grad_left = grad_right = None
        if ctx.needs_input_grad[0]:
            grad_left = row_sum(*ctx.edges._replace(values=grad), right, None, 1.0)
        if ctx.needs_input_grad[1]:
            grad_right = row_sum(*ctx.transposed._replace(values=grad[ctx.order]), left, None, 1.0)
        return grad_left, grad_right, None, None, None


class _EdgeSoftmax(torch.autograd.Function):
    """ds = alpha (dalpha - sum over the row of alpha dalpha)."""

    @staticmethod
    def forward(ctx, scores: Tensor, edges: Edges, rows: Tensor, columns: int) -> Tensor:
        # The largest score of a row does not depend on the order in which they are looked at.
        largest = scores.new_full((edges.rowptr.shape[0] - 1,), -torch.inf).scatter_reduce_(0, rows, scores, "amax")
        exponent = (scores - largest[rows]).exp_()
        alpha = exponent / _sums(edges, exponent, columns)[rows]
        ctx.save_for_backward(alpha)
        ctx.edges, ctx.rows, ctx.columns = edges, rows, columns
        return alpha

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (alpha,) = ctx.saved_tensors
        weighted = alpha * grad
        return weighted - alpha * _sums(ctx.edges, weighted, ctx.columns)[ctx.rows], None, None, None


class _SourceRows(torch.autograd.Function):
    """Each node's gradient is the sum over the edges that leave it: a row sum of the transpose."""

    @staticmethod
    def forward(ctx, table: Tensor, columns: Tensor, incoming: Edges) -> Tensor:
        ctx.incoming = incoming
        return table.index_select(0, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return row_sum(*ctx.incoming._replace(values=None, constant=1.0), grad, None, 1.0), None, None
