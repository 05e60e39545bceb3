"""A torch sparse matrix as the graphs that products with it, and with its transpose, need."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import CSRGraph, spmm
from ..kernels.csr import index_dtype
from ..kernels.dispatch import use_reference
from ..kernels.spmm.primitives import edges_of, row_sum
from ..kernels.spmm.reference import spmm_reference
from .selection import Pattern, Selection


class GraphPair:
    """A graph and its transpose, the second made at the first backward pass; a symmetric matrix keeps one for both."""

    def __init__(self, graph: CSRGraph):
        self._graph = graph
        self._symmetry_known = graph.symmetric

    @property
    def symmetric(self) -> bool | None:
        """Whether the matrix equals its transpose; None while no product has asked for the transpose."""
        return self._graph.symmetric if self._symmetry_known else None

    @property
    def num_edges(self) -> int:
        return self._graph.num_edges

    def graph(self, transposed: bool) -> CSRGraph:
        if transposed and not self._symmetry_known:
            self._symmetry_known = True
            if _equal(self._graph, self._graph.transpose()):
                graph = self._graph
                self._graph = CSRGraph(
                    graph.rowptr, graph.columns, graph.shape, graph.values, graph.constant, symmetric=True, checked=True
                )
        return self._graph.transpose() if transposed else self._graph


def _equal(graph: CSRGraph, other: CSRGraph) -> bool:
    """Edge by edge; edges in another order within a row count as different, which only costs memory."""
    return (
        graph.shape == other.shape
        and torch.equal(graph.rowptr, other.rowptr)
        and torch.equal(graph.columns, other.columns)
        and (graph.values is None or (other.values is not None and torch.equal(graph.values, other.values)))
    )


class ProductFunction(torch.autograd.Function):
    """:func:`mde_fast.kernels.spmm` whose gradient, A^T g, is the same function and can be differentiated again."""

    @staticmethod
    def forward(ctx, x: Tensor, pair: GraphPair, transposed: bool, unchanged) -> Tensor:
        ctx.pair, ctx.transposed, ctx.unchanged = pair, transposed, unchanged
        graph = pair.graph(transposed)
        if use_reference(x.device):
            return spmm_reference(graph, x, None, None)
        return row_sum(*edges_of(graph, x.dtype), x, None, 1.0)

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not ctx.unchanged():
            raise RuntimeError("a sparse matrix was changed in place between its product and the backward pass")
        return ProductFunction.apply(grad, ctx.pair, not ctx.transposed, ctx.unchanged), None, None, None


def product(pair: GraphPair, x: Tensor, *, transposed: bool = False, unchanged=lambda: True) -> Tensor:
    """A x, (R, D), or A^T x; ``unchanged`` says at the backward pass whether the graphs are still the matrix's."""
    return ProductFunction.apply(x, pair, transposed, unchanged)


class MatrixGraphs:
    """The graphs of a torch sparse matrix, made at its first product and again after it was changed in place.

    A change is noticed by the version counters of the matrix and its parts. On a CPU its values are also compared with
    those that the graphs were made from, which takes a fraction of a product's time: a matrix made from a tensor of
    values shares their memory, and changes through that tensor or ``.data`` leave the matrix's counters alone.
    """

    def __init__(
        self,
        matrix: Tensor,
        origin: MatrixGraphs | None = None,
        *,
        transposed: bool = False,
        chosen: Selection | None = None,
    ):
        """
        Args:
            matrix: COO, CSR or CSC.
            origin: of a matrix that this one is equal to, or the transpose of, while neither changes.
            transposed: it is the transpose.
            chosen: which edges of another matrix a COO matrix has, in this order, while its indices do not change.
        """
        self.matrix = matrix
        self._chosen = None if chosen is None else (chosen, matrix._indices()._version)
        self._pattern: Pattern | None = None
        self._versions: tuple[int, ...] | None = None
        self._values: Tensor | None = None
        self._pair: GraphPair | None = None
        self._origin = None
        if origin is not None and (origin.pair is not None or origin._chosen):
            pair, flipped = origin.current()
            self._origin = origin, pair, flipped != transposed, _versions(matrix)

    @property
    def pair(self) -> GraphPair | None:
        """The graphs as last used."""
        return self._origin[1] if self._origin else self._pair

    def current(self) -> tuple[GraphPair, bool]:
        """Graphs of the matrix as it is now, and whether they are its transpose's."""
        if self._origin is not None:
            origin, pair, flipped, versions = self._origin
            if versions == _versions(self.matrix) and origin.current()[0] is pair:
                return pair, flipped
            self._origin = None
        versions, values = _versions(self.matrix), _values(self.matrix)
        on_cpu, before = values.device.type == "cpu", self._values
        changed = versions != self._versions or (on_cpu and (before is None or not torch.equal(values, before)))
        if self._pair is None or changed:
            chosen = self._known_selection()
            graph = _graph_of(self.matrix) if chosen is None else chosen.graph(self.matrix._indices()[1], values)
            self._pair, self._versions = GraphPair(graph), versions
            self._values = values.clone() if on_cpu else None
        return self._pair, self.matrix.layout == torch.sparse_csc

    def _known_selection(self) -> Selection | None:
        """Which edges of another matrix this one has, while neither's indices have changed."""
        if self._chosen is None:
            return None
        chosen, version = self._chosen
        return chosen if version == self.matrix._indices()._version and chosen.pattern.is_current() else None

    def selection(self) -> Selection:
        """The edges of a COO matrix as they are now, for matrices made of some of them."""
        chosen = self._known_selection()
        if chosen is not None:
            return chosen
        indices = self.matrix._indices()
        if self._pattern is None or not self._pattern.is_of(indices):
            self._pattern = Pattern(indices, (self.matrix.shape[0], self.matrix.shape[1]))
        return Selection(self._pattern)

    def product(self, x: Tensor) -> Tensor:
        """The matrix times x (C, D)."""
        pair, transposed = self.current()
        versions = _versions(self.matrix)
        return product(pair, x, transposed=transposed, unchanged=lambda: versions == _versions(self.matrix))

    def product_with_values(self, x: Tensor, values: Tensor) -> Tensor:
        """The same with values (edges,) that require a gradient, in the order of the matrix's own."""
        self._origin = None  # whose edges may be in another order
        pair, _ = self.current()
        return spmm(pair.graph(False), x, values=values)


@torch.no_grad()
def _parts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row or compressed indices, the other indices, values."""
    if matrix.layout == torch.sparse_coo:
        rows, columns = matrix._indices()
        return rows, columns, matrix._values()
    if matrix.layout == torch.sparse_csr:
        return matrix.crow_indices(), matrix.col_indices(), matrix.values()
    return matrix.ccol_indices(), matrix.row_indices(), matrix.values()


@torch.no_grad()
def _values(matrix: Tensor) -> Tensor:
    return (matrix._values() if matrix.layout == torch.sparse_coo else matrix.values()).detach()


def _versions(matrix: Tensor) -> tuple[int, ...]:
    if matrix.is_inference():  # such tensors do not count
        return ()
    if matrix.layout == torch.sparse_coo:
        return matrix._version, matrix._indices()._version
    first, second, _ = _parts(matrix)
    return matrix._version, first._version, second._version


@torch.no_grad()
def _graph_of(matrix: Tensor) -> CSRGraph:
    """The graph of a matrix, of its transpose for compressed columns; values are shared where the order is the same."""
    first, second, values = (part.detach() for part in _parts(matrix))
    rows, columns = matrix.shape
    if matrix.layout == torch.sparse_coo:
        return CSRGraph.from_edges(first, second, (rows, columns), values)
    index = index_dtype(values.numel(), (rows, columns))
    shape = (rows, columns) if matrix.layout == torch.sparse_csr else (columns, rows)
    return CSRGraph(first.to(index), second.to(index), shape, values)
