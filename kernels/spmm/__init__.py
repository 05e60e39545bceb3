"""Sparse times dense, the graph convolution of eq. 4."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..csr import CSRGraph
from ..dispatch import use_reference
from .primitives import Edges, edge_dot, edges_of, row_sum
from .reference import spmm_reference

__all__ = ["spmm"]


class SpmmFunction(torch.autograd.Function):
    """dX = A^T dY on the transposed graph; the value of edge (r, c) gets <dY_r, X_c>; the residual gets dY.

    ``plus_x``: x is the residual too, so that both products have an epilogue and no gradients are added up afterwards.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        values: Tensor | None,
        residual: Tensor | None,
        plus_x: bool,
        edges: Edges,
        transposed: Edges | None,
    ) -> Tensor:
        ctx.plus_x, ctx.edges, ctx.transposed = plus_x, edges, transposed
        ctx.save_for_backward(x if values is not None else None)
        return row_sum(*edges, x, x if plus_x else residual, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        edges, (x,) = ctx.edges, ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_x = row_sum(*ctx.transposed, grad, grad if ctx.plus_x else None, 1.0)
        if ctx.needs_input_grad[1]:
            grad_values = edge_dot(edges.rowptr, edges.columns, edges.pieces, grad, x)
        return grad_x, grad_values, grad if ctx.needs_input_grad[2] else None, None, None, None


def _both_directions(graph: CSRGraph, values: Tensor | None, x: Tensor) -> tuple[Edges, Edges | None]:
    """A as row_sum takes it and, where a gradient will flow back, A^T."""
    edges = edges_of(graph, x.dtype)
    transposed = edges_of(graph.transpose(), x.dtype) if torch.is_grad_enabled() and x.requires_grad else None
    if values is None:
        return edges, transposed
    values = values.detach()
    if transposed is not None:
        # A symmetric pattern does not make other values symmetric: they follow the transpose's order, and so do the
        # columns, which a graph that is its own transpose may hold in another.
        order = graph.transpose_order()
        transposed = transposed._replace(values=values[order], columns=graph.rows()[order])
    return edges._replace(values=values), transposed


def spmm(graph: CSRGraph, x: Tensor, *, values: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
    """``residual + A x`` for any CSR graph (paper, eq. 4: one pass over a homogeneous graph, with its residual).

    Args:
        graph: A, (R, C); need not be symmetric. Its transpose is built once, at the first backward pass.
        x: (C, D), floating point.
        values: (edges,) values to use instead of the graph's own, in its edge order; may require a gradient.
        residual: (R, D) added to the product.

    Returns:
        (R, D) in x's dtype.

    Raises:
        ValueError: shapes or devices do not match the graph.
        TypeError: x is not floating point, or values or residual differ from x in type or device.
    """
    graph.require_operand(x, graph.shape[1])
    if values is not None and values.shape != graph.columns.shape:
        raise ValueError(f"{tuple(values.shape)} values for a graph of {graph.num_edges} edges")
    if residual is not None and residual.shape != (graph.shape[0], x.shape[1]):
        raise ValueError(f"residual has shape {tuple(residual.shape)}, expected {(graph.shape[0], x.shape[1])}")
    for name, tensor in (("values", values), ("residual", residual)):
        if tensor is not None and (tensor.dtype != x.dtype or tensor.device != x.device):
            raise TypeError(f"{name} are {tensor.dtype} on {tensor.device}, x is {x.dtype} on {x.device}: convert one")
    if use_reference(x.device):
        return spmm_reference(graph, x, values, residual)
    plus_x = residual is x
    edges, transposed = _both_directions(graph, values, x)
    return SpmmFunction.apply(x, values, None if plus_x else residual, plus_x, edges, transposed)
