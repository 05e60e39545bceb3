"""Ground truth of spmm: gather the neighbours' rows, weigh them, add them up."""

from torch import Tensor

from ..csr import CSRGraph


def spmm_reference(graph: CSRGraph, x: Tensor, values: Tensor | None, residual: Tensor | None) -> Tensor:
    values = graph.edge_values(x.dtype) if values is None else values
    messages = values[:, None] * x[graph.columns.long()]
    out = x.new_zeros(graph.shape[0], x.shape[1]).index_add(0, graph.rows().long(), messages)
    return out if residual is None else residual + out
