"""Some of a matrix's edges as a graph: found from the whole matrix's order, so that nothing is sorted again."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels import CSRGraph


class Pattern:
    """The edges of a COO matrix in the order of its rows, sorted at the first use."""

    def __init__(self, indices: Tensor, shape: tuple[int, int]):
        """``indices``: (2, edges)."""
        self.num_edges = indices.shape[1]
        self._indices, self._version, self._shape = indices, indices._version, shape
        self._order: tuple[CSRGraph, Tensor | None] | None = None

    def is_current(self) -> bool:
        """Whether the indices are what they were when edges were first selected from them."""
        return self._indices._version == self._version

    def is_of(self, indices: Tensor) -> bool:
        return indices.data_ptr() == self._indices.data_ptr() and self.is_current()

    def order(self) -> tuple[CSRGraph, Tensor | None]:
        """The graph of all edges, and the place of each of its edges in the matrix; None where the orders agree."""
        if self._order is None:
            places = torch.arange(self.num_edges, device=self._indices.device, dtype=torch.float64)  # exact to 2^53
            rows, columns = self._indices
            graph = CSRGraph.from_edges(rows, columns, self._shape, places)
            sorted_places = graph.edge_values(torch.float64)
            order = None if torch.equal(sorted_places, places) else sorted_places.long()
            self._order = CSRGraph(graph.rowptr, graph.columns, graph.shape, checked=True), order
        return self._order


@dataclass(frozen=True)
class Selection:
    """All edges of a pattern, or some of them in some order.

    Attributes:
        pattern: of the whole matrix.
        kept: (edges of the pattern,) bool, or None for all.
        places: (edges of the pattern,) where each kept edge is among the selected; None where they are in order.
    """

    pattern: Pattern
    kept: Tensor | None = None
    places: Tensor | None = None

    def masked(self, mask: Tensor) -> Selection | None:
        """Those of a mask (selected edges,); it is copied, as its owner may fill it anew."""
        if self.kept is None:
            return Selection(self.pattern, mask.clone())
        if self.places is None:
            kept = self.kept.clone()
            kept[self.kept] = mask
            return Selection(self.pattern, kept)
        return self.numbered(mask.nonzero().flatten())

    def numbered(self, numbers: Tensor) -> Selection | None:
        """Those of these numbers, in their order; None where one is repeated."""
        places = self._places()
        new = torch.full((self.num_selected() + 1,), -1, dtype=torch.int64, device=numbers.device)
        new[:-1][numbers] = torch.arange(numbers.numel(), device=numbers.device)
        if int((new >= 0).sum()) != numbers.numel():
            return None
        places = new[places]  # the last entry, -1, is for those that were not selected before
        return Selection(self.pattern, places >= 0, places)

    def num_selected(self) -> int:
        return self.pattern.num_edges if self.kept is None else int(self.kept.sum())

    def _places(self) -> Tensor:
        """(edges of the pattern,) where each is among the selected, -1 for those that are not."""
        if self.places is not None:
            return self.places
        if self.kept is None:
            return torch.arange(self.pattern.num_edges, device=self.pattern._indices.device)
        return torch.where(self.kept, self.kept.cumsum(0) - 1, -1)

    def graph(self, columns: Tensor, values: Tensor) -> CSRGraph:
        """The graph of the selected edges, whose columns and values come in the order of the selection."""
        whole, order = self.pattern.order()
        kept = self.kept
        if order is not None or self.places is not None:
            places = self._places()
            if order is not None:
                places = places.index_select(0, order)
            if kept is not None:
                kept = places >= 0
                places = places[kept]
            columns, values = columns.index_select(0, places), values.index_select(0, places)
        if kept is None:
            return _Part(whole.rowptr, whole.columns, whole.shape, values, checked=True, whole=whole)
        ranks = _ranks(whole, kept)
        rowptr, columns = ranks.index_select(0, whole.rowptr), columns.to(whole.columns.dtype)
        return _Part(rowptr, columns, whole.shape, values, checked=True, whole=whole, kept=(kept, ranks))


def _ranks(whole: CSRGraph, kept: Tensor) -> Tensor:
    """(edges + 1,) how many edges are kept before each."""
    return F.pad(kept.cumsum(0, dtype=whole.rowptr.dtype), (1, 0))


@dataclass(eq=False)
class _Part(CSRGraph):
    """Edges of a graph with values of their own; the transpose is taken from the whole's.

    Attributes:
        whole: the graph.
        kept: (edges of the whole,) bool and how many are kept before each of them (edges + 1,); None for all edges.
    """

    whole: CSRGraph = field(kw_only=True)
    kept: tuple[Tensor, Tensor] | None = field(default=None, kw_only=True)

    def transpose_order(self) -> Tensor:
        if self.kept is None:
            return self.whole.transpose_order()
        return self._cached("transpose_order", lambda: self._transposed()[0])

    def transpose(self) -> CSRGraph:
        return self._cached("transpose", lambda: self._transposed()[1])

    def _transposed(self) -> tuple[Tensor, CSRGraph]:
        whole, order = self.whole.transpose(), self.whole.transpose_order()
        rowptr, columns = whole.rowptr, whole.columns
        if self.kept is not None:
            kept, ranks = self.kept
            kept = kept.index_select(0, order)
            numbers = kept.nonzero().flatten()  # once: an index by a mask finds them every time
            rowptr, columns = _ranks(whole, kept).index_select(0, rowptr), columns.index_select(0, numbers)
            order = ranks.index_select(0, order.index_select(0, numbers))
        values = None if self.values is None else self.values.index_select(0, order)
        return order.long(), CSRGraph(rowptr, columns, whole.shape, values, checked=True)
