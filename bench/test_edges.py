"""The operators of attention over edges against what else a user could call, on user-item graphs."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.test_operators import measure, with_rivals
from mde_fast.kernels import CSRGraph, edge_dots, edge_softmax, source_rows
from mde_fast.kernels.edges.reference import edge_dots_reference, edge_softmax_reference, source_rows_reference

DIM, MODALITIES = 64, 2


@pytest.fixture
def graph(graphs, graph_name) -> CSRGraph:
    found = graphs(graph_name)
    if found.num_edges > 2_000_000:
        pytest.skip("the alternatives hold several matrices of a row per edge")
    return found.prepare()


def table(graph: CSRGraph, width: int) -> Tensor:
    return torch.randn(graph.shape[0], width, device=graph.device, requires_grad=True)


def sparse_softmax(graph: CSRGraph, scores: Tensor) -> Tensor:
    """PyTorch's own, which takes and gives sparse matrices."""
    places = torch.stack([graph.rows().long(), graph.columns.long()])
    matrix = torch.sparse_coo_tensor(places, scores, graph.shape, is_coalesced=True)
    return torch.sparse.softmax(matrix, 1).coalesce().values()


def test_edge_softmax(benchmark, graph, device, seconds, compiled):
    scores = torch.randn(graph.num_edges, device=device, requires_grad=True)
    weights = torch.randn(
        graph.num_edges, device=device
    )  # a gradient that does not vanish, as one of equal numbers does
    variants = with_rivals(
        lambda: weights * edge_softmax(graph, scores),
        lambda: weights * edge_softmax_reference(graph, scores),
        device,
        compiled,
    )
    variants["torch.sparse.softmax"] = lambda: weights * sparse_softmax(graph, scores)
    if importlib.util.find_spec("torch_geometric"):
        from torch_geometric.utils import softmax

        rows = graph.rows().long()
        variants["PyG"] = lambda: weights * softmax(scores, rows, num_nodes=graph.shape[0])
    measure(benchmark, variants, [scores], device, seconds)


def test_edge_dots(benchmark, graph, device, seconds, compiled):
    left, right = table(graph, DIM), table(graph, DIM)
    variants = with_rivals(
        lambda: edge_dots(graph, left, right), lambda: edge_dots_reference(graph, left, right), device, compiled
    )
    measure(benchmark, variants, [left, right], device, seconds)


def test_source_rows(benchmark, graph, device, seconds, compiled):
    strength, columns = table(graph, MODALITIES), graph.columns.long()
    variants = with_rivals(
        lambda: source_rows(graph, strength), lambda: source_rows_reference(graph, strength), device, compiled
    )
    variants["F.embedding"] = lambda: F.embedding(columns, strength)
    measure(benchmark, variants, [strength], device, seconds)
