"""Item graphs of cosines, written out with dense matrices: what the twins of LATTICE, MGCN and SMORE share."""

from __future__ import annotations

import torch
from torch import Tensor

from mde_fast.kernels import CSRGraph


def cosines_of_nearest(features: Tensor, k: int) -> Tensor:
    """(I, I): cosines of an item with its k nearest, itself among them, 0 elsewhere; differentiable."""
    unit = features / features.square().sum(1, keepdim=True).sqrt()
    cosines = unit @ unit.T
    nearest = cosines.detach().argsort(1, descending=True)[:, :k]
    return cosines * torch.zeros_like(cosines).scatter(1, nearest, 1.0)


def over_roots(graph: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2, D the sums of rows."""
    scale = graph.sum(1).rsqrt()
    return scale[:, None] * graph * scale


def dense(graph: CSRGraph) -> Tensor:
    """(R, C) float64."""
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    places = graph.rows().long(), graph.columns.long()
    return matrix.index_put(places, graph.edge_values().double(), accumulate=True)


def of_modality(stacked: CSRGraph, modality: int, count: int) -> Tensor:
    """(I, I) float64, one modality's of ``count`` that are stacked."""
    return dense(stacked)[modality::count, modality::count]
