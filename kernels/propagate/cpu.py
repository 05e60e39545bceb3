"""CPU path of propagate: Horner's scheme, no activation kept."""

from __future__ import annotations

import torch
from torch import Tensor

from ..csr import CSRGraph
from ..spmm.cpu import bag_sum


def propagate_forward(graph: CSRGraph, x: Tensor, layers: int, combine: str) -> Tensor:
    """``x + A (x + A (x + ...))`` equals the sum of all layers with one buffer and ``layers`` products."""
    values = graph.normalised_values(x.dtype)
    total = x
    for _ in range(layers):
        total = bag_sum(total, graph.rowptr, graph.columns, values).add_(x)
    if layers == 0:
        return x.clone()
    return total.div_(layers + 1) if combine == "mean" else total


class PropagateFunction(torch.autograd.Function):
    """The sum over powers of a symmetric A is symmetric: the backward pass is the forward routine on the gradient."""

    @staticmethod
    def forward(ctx, graph: CSRGraph, x: Tensor, layers: int, combine: str) -> Tensor:
        ctx.arguments = graph, layers, combine
        return propagate_forward(graph, x, layers, combine)

    @staticmethod
    def backward(ctx, grad: Tensor):
        graph, layers, combine = ctx.arguments
        return None, propagate_forward(graph, grad.contiguous(), layers, combine), None, None
