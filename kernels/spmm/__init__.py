"""Sparse times dense, the graph convolution of eq. 4."""

from __future__ import annotations

from torch import Tensor

from ..csr import CSRGraph
from ..dispatch import use_reference
from .cpu import SpmmFunction
from .reference import spmm_reference

__all__ = ["spmm"]


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
        ValueError: shapes do not match the graph.
    """
    if x.ndim != 2 or x.shape[0] != graph.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, a graph of shape {graph.shape} needs ({graph.shape[1]}, D)")
    if values is not None and values.shape != graph.columns.shape:
        raise ValueError(f"{tuple(values.shape)} values for a graph of {graph.num_edges} edges")
    if residual is not None and residual.shape != (graph.shape[0], x.shape[1]):
        raise ValueError(f"residual has shape {tuple(residual.shape)}, expected {(graph.shape[0], x.shape[1])}")
    if use_reference():
        return spmm_reference(graph, x, values, residual)
    return SpmmFunction.apply(graph, x, values, residual)
