"""Ground truth of propagate: equations 2 and 3 written out layer by layer."""

from torch import Tensor

from ..csr import CSRGraph


def propagate_reference(graph: CSRGraph, x: Tensor, layers: int, combine: str) -> Tensor:
    scale = graph.inverse_sqrt_degrees(x.dtype)
    rows, columns = graph.rows().long(), graph.columns.long()
    weights = (scale[rows] * scale[columns])[:, None]
    layer, total = x, x
    for _ in range(layers):
        layer = x.new_zeros(x.shape).index_add(0, rows, weights * layer[columns])
        total = total + layer
    return total / (layers + 1) if combine == "mean" else total
