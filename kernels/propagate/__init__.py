"""LightGCN message passing with its layers combined, equations 2 and 3."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..csr import CSRGraph
from ..dispatch import use_reference
from ..spmm.primitives import Edges, edges_of, row_sum
from .reference import propagate_reference

__all__ = ["propagate"]


def _horner(edges: Edges, x: Tensor, layers: int, combine: str) -> Tensor:
    """``x + A (x + A (x + ...))`` is the sum of all layers, in ``layers`` products and one buffer."""
    if layers == 0:
        return x.clone()
    total = x
    for layer in range(1, layers + 1):
        mean = combine == "mean" and layer == layers
        total = row_sum(*edges, total, x, 1 / (layers + 1) if mean else 1.0)
    return total


class PropagateFunction(torch.autograd.Function):
    """A sum of powers of a symmetric A is symmetric: the backward pass is the forward routine on the gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, edges: Edges, layers: int, combine: str) -> Tensor:
        ctx.arguments = edges, layers, combine
        return _horner(edges, x, layers, combine)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        edges, layers, combine = ctx.arguments
        return _horner(edges, grad.contiguous(), layers, combine), None, None, None


def propagate(graph: CSRGraph, x: Tensor, *, layers: int = 2, combine: str = "mean") -> Tensor:
    """Mean (or sum) over l = 0..layers of ``(D^-1/2 A D^-1/2)^l x`` (paper, eqs. 2 and 3).

    Edge weights follow from the degrees; the graph's own values are not used. An isolated node keeps only layer 0.

    Args:
        graph: A, (N, N), symmetric; for a user-item graph N = users + items.
        x: (N, D), floating point; modalities stand side by side in D.
        layers: number of products, 0 or more.
        combine: ``mean`` or ``sum`` over the layers + 1 terms.

    Returns:
        (N, D) in x's dtype.

    Raises:
        ValueError: a graph that is not symmetric, a shape or device that does not match it, or an option out of range.
        TypeError: x is not floating point.
    """
    if not graph.symmetric:
        raise ValueError(
            "propagate needs a symmetric graph, made with symmetric=True (CSRGraph.from_edges, from_scipy); for others "
            "use spmm layer by layer"
        )
    graph.require_operand(x, graph.shape[0])
    if layers < 0:
        raise ValueError(f"layers={layers}: must be 0 or more")
    if combine not in ("mean", "sum"):
        raise ValueError(f"combine={combine!r}: choose mean or sum")
    if use_reference(x.device):
        return propagate_reference(graph, x, layers, combine)
    return PropagateFunction.apply(x, edges_of(graph, x.dtype, degree_scaled=True), layers, combine)
