"""Parts of a graph of interactions: some users, some items."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import CSRGraph


def rows_of(graph: CSRGraph | None, rows: Tensor) -> CSRGraph | None:
    """Some rows of a graph, in this order; one may come twice."""
    if graph is None:
        return None
    start, count = graph.rowptr.long()[rows], graph.degrees().long()[rows]
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    edges = torch.arange(int(rowptr[-1]), device=rows.device) + (start - rowptr[:-1]).repeat_interleave(count)
    return CSRGraph(rowptr, graph.columns.long()[edges], (len(rows), graph.shape[1]))


def columns_of(graph: CSRGraph, columns: Tensor) -> CSRGraph:
    """Some columns of a graph, renumbered; edges to others are dropped."""
    numbers = torch.arange(max(graph.shape[0], len(columns)), device=columns.device)
    place = numbers.new_full((graph.shape[1],), -1).index_copy_(0, columns, numbers[: len(columns)])
    found = place[graph.columns.long()]
    kept = found >= 0
    rows = numbers[: graph.shape[0]].repeat_interleave(graph.degrees().long())
    return CSRGraph.from_edges(rows[kept], found[kept], (graph.shape[0], len(columns)))


def with_empty_row(graph: CSRGraph | None) -> CSRGraph | None:
    """One more row, for users who are nowhere in the data."""
    if graph is None:
        return None
    rowptr = torch.cat([graph.rowptr, graph.rowptr[-1:]])
    return CSRGraph(rowptr, graph.columns, (graph.shape[0] + 1, graph.shape[1]))
