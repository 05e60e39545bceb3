"""Sparse times dense, the graph convolution of eq. 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..csr import CSRGraph
from ..dispatch import use_reference
from .primitives import Edges, edge_dot, edges_of, row_sum, row_sum_into
from .reference import spmm_reference

__all__ = ["spmm", "spmm_blocks"]


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


class SpmmBlocksFunction(torch.autograd.Function):
    """Gradients of all blocks are written side by side: nothing has to join them."""

    @staticmethod
    def forward(
        ctx, x: Tensor, rows: tuple[int, ...], edges: list[Edges], transposed: list[Edges]
    ) -> tuple[Tensor, ...]:
        ctx.rows, ctx.transposed = rows, transposed
        outputs = []
        for block, own in zip(x.split(rows), edges):
            block = _as_rows_of(own, block)
            outputs.append(row_sum(*own, block, block, 1.0).view(-1, x.shape[1]))
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        grad_x = grads[0].new_empty(sum(ctx.rows), grads[0].shape[1])
        for out, grad, own in zip(grad_x.split(ctx.rows), grads, ctx.transposed):
            grad = _as_rows_of(own, grad)
            row_sum_into(*own, grad, grad, 1.0, _as_rows_of(own, out))
        return grad_x, None, None, None


def _as_rows_of(edges: Edges, block: Tensor) -> Tensor:
    """A block's numbers as the rows of its graph, of which one of its own holds several."""
    rows = edges.rowptr.numel() - 1
    return block.reshape(rows, block.numel() // rows if rows else block.shape[1])


def spmm_blocks(graphs: Sequence[CSRGraph], x: Tensor, rows: Sequence[int]) -> tuple[Tensor, ...]:
    """``x_b + A_b x_b`` for the blocks b of x's rows: eq. 4 for users and items at once, whose rows x holds together.

    The same as ``spmm(A_b, x_b, residual=x_b)`` for each block, but no gradients of blocks have to be joined.

    Args:
        graphs: A_b, square. Where a graph has k times as many rows as its block, those are the block's rows cut in k:
            (n, D) taken as (n * k, D / k), such as the modalities of n nodes.
        x: (N, D), floating point.
        rows: how many rows of x are in each block, N in all.

    Returns:
        (rows_b, D) in x's dtype for each block.

    Raises:
        ValueError: shapes or devices do not match.
        TypeError: x is not floating point.
    """
    rows = tuple(rows)
    if x.ndim != 2 or len(rows) != len(graphs) or not rows or sum(rows) != x.shape[0]:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (N, D) of {len(graphs)} blocks with {rows} rows")
    for graph, block in zip(graphs, x.split(rows)):
        nodes, count = graph.shape[0], block.shape[0]
        if graph.shape[1] != nodes or (nodes % count if count else nodes) or (count and x.shape[1] % (nodes // count)):
            raise ValueError(
                f"a graph of shape {graph.shape} for {count} rows of {x.shape[1]} numbers: it must be square and have "
                "as many rows, or a multiple that divides their numbers"
            )
        own = block.reshape(nodes, block.numel() // nodes if nodes else x.shape[1])
        graph.require_operand(own, nodes)
    if use_reference(x.device):
        blocks = [
            block.reshape(graph.shape[0], -1) if len(block) else block for graph, block in zip(graphs, x.split(rows))
        ]
        products = (spmm_reference(graph, block, None, block) for graph, block in zip(graphs, blocks))
        return tuple(product.view(-1, x.shape[1]) for product in products)
    both = [_both_directions(graph, None, x) for graph in graphs]
    edges, transposed = zip(*both)
    return SpmmBlocksFunction.apply(x, rows, list(edges), list(transposed))
