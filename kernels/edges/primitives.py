"""The two directions of edge_softmax, as registered operators without autograd."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..csr import CSRGraph
from ..dispatch import Primitive, implementation
from .cpu import edge_softmax_backward_cpu, edge_softmax_forward_cpu


class Rows(NamedTuple):
    """Which edges are a row's, as both directions take it.

    Attributes:
        rowptr: (R + 1,) the edges of row r are ``rowptr[r]:rowptr[r + 1]``.
        rows: (edges,) the row of each edge; on a GPU, where nothing reads it, rowptr again.
        pieces, splits, num_slots: see :class:`mde_fast.kernels.csr.Pieces`; None and 0 where they are not used.
    """

    rowptr: Tensor
    rows: Tensor
    pieces: Tensor | None
    splits: Tensor | None
    num_slots: int


def rows_of(graph: CSRGraph) -> Rows:
    if implementation(graph.device) == "triton":
        return Rows(graph.rowptr, graph.rowptr, *graph.pieces())
    return Rows(graph.rowptr, graph.rows(), None, None, 0)


def _forward_fake(rowptr, rows, pieces, splits, num_slots, scores):
    return scores.new_empty(scores.shape)


def _backward_fake(rowptr, rows, pieces, splits, num_slots, grad, alpha):
    return alpha.new_empty(alpha.shape)


_ROWS = "Tensor rowptr, Tensor rows, Tensor? pieces, Tensor? splits, int num_slots"

# (edges,): alpha, the softmax of each row's scores.
edge_softmax_forward = Primitive(
    f"edge_softmax_forward({_ROWS}, Tensor scores) -> Tensor",
    cpu=edge_softmax_forward_cpu,
    fake=_forward_fake,
)

# (edges,): the gradient of the scores, from that of alpha and alpha itself.
edge_softmax_backward = Primitive(
    f"edge_softmax_backward({_ROWS}, Tensor grad, Tensor alpha) -> Tensor",
    cpu=edge_softmax_backward_cpu,
    fake=_backward_fake,
)
