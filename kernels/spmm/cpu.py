"""CPU path of spmm: one fused bag-sum per product, its transpose in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..csr import CSRGraph


def bag_sum(x: Tensor, rowptr: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """(rows, D) sum of ``values[e] * x[columns[e]]`` over each row's edges.

    ``embedding_bag`` is the fastest sparse-dense product PyTorch has on a CPU (generated code on x86); its own backward
    scatters, so it is only ever called here, outside autograd.
    """
    if columns.numel() == 0:
        return x.new_zeros(rowptr.numel() - 1, x.shape[1])
    return F.embedding_bag(
        columns, x.contiguous(), rowptr, mode="sum", per_sample_weights=values, include_last_offset=True
    )


class SpmmFunction(torch.autograd.Function):
    """Backward: dX = A^T dY on the cached transpose; the value of edge (r, c) gets <dY_r, X_c>."""

    @staticmethod
    def forward(ctx, graph: CSRGraph, x: Tensor, values: Tensor | None, residual: Tensor | None) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(x if values is not None and values.requires_grad else None, values)
        edge_values = graph.edge_values(x.dtype) if values is None else values
        out = bag_sum(x, graph.rowptr, graph.columns, edge_values)
        return out if residual is None else out.add_(residual)

    @staticmethod
    def backward(ctx, grad: Tensor):
        graph = ctx.graph
        x, values = ctx.saved_tensors
        grad_x = grad_values = None
        if ctx.needs_input_grad[1]:
            transpose = graph.transpose()
            columns = transpose.columns
            if values is None:
                edge_values = transpose.edge_values(grad.dtype)
            else:
                # A symmetric pattern does not make learned values symmetric: they always follow the transpose's order,
                # and so do the columns, which a graph that is its own transpose may hold in another.
                order = graph.transpose_order()
                edge_values, columns = values[order], graph.rows()[order]
            grad_x = bag_sum(grad, transpose.rowptr, columns, edge_values)
        if ctx.needs_input_grad[2]:
            grad_values = (grad[graph.rows().long()] * x[graph.columns.long()]).sum(1)
        return None, grad_x, grad_values, grad if ctx.needs_input_grad[3] else None
