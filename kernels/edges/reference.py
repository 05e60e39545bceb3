"""Ground truth of the operators on edges: gather the ends of each edge, and a softmax with the row's largest score."""

import torch
from torch import Tensor

from ..csr import CSRGraph


def edge_dots_reference(graph: CSRGraph, left: Tensor, right: Tensor) -> Tensor:
    return (left[graph.rows().long()] * right[graph.columns.long()]).sum(1)


def edge_softmax_reference(graph: CSRGraph, scores: Tensor) -> Tensor:
    rows = graph.rows().long()
    largest = scores.new_full((graph.shape[0],), -torch.inf).scatter_reduce(0, rows, scores.detach(), "amax")
    exponent = torch.exp(scores - largest[rows])
    return exponent / scores.new_zeros(graph.shape[0]).index_add(0, rows, exponent)[rows]


def source_rows_reference(graph: CSRGraph, table: Tensor) -> Tensor:
    return table[graph.columns.long()]
