"""Attention over edges against dense matrices: values, gradients, bits."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from mde_fast.kernels import CSRGraph
from mde_fast.nn.edge_softmax import edge_dots, edge_softmax, source_rows

EDGES = {
    "few": ([0, 0, 1, 3, 3, 3], [1, 2, 0, 0, 1, 3], (5, 4)),  # rows 2 and 4 have none
    "one": ([2], [0], (3, 1)),
    "none": ([], [], (2, 3)),
    "a hub": ([0] * 300 + [1, 2], [*range(300), 299, 0], (3, 300)),
}


def _graph(name: str, values: bool = False) -> CSRGraph:
    rows, columns, shape = EDGES[name]
    rows, columns = torch.tensor(rows, dtype=torch.int64), torch.tensor(columns, dtype=torch.int64)
    return CSRGraph.from_edges(rows, columns, shape, torch.rand(len(rows)) if values else None)


def _random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("values", (False, True), ids=("constant", "with values of its own"))
def test_values(name, values):
    graph = _graph(name, values)
    rows, columns = graph.rows().long(), graph.columns.long()
    left, right = _random(graph.shape[0], 5), _random(graph.shape[1], 5, seed=1)
    torch.testing.assert_close(edge_dots(graph, left, right), (left[rows] * right[columns]).sum(1))
    scores = _random(graph.num_edges, seed=2)
    dense = torch.full(graph.shape, -torch.inf, dtype=torch.float64).index_put((rows, columns), scores)
    torch.testing.assert_close(edge_softmax(graph, scores), torch.softmax(dense, 1)[rows, columns])
    torch.testing.assert_close(source_rows(graph, right), right[columns])


@pytest.mark.parametrize("name", ("few", "one", "none"))
def test_gradients(name):
    graph = _graph(name)
    left, right = _random(graph.shape[0], 3), _random(graph.shape[1], 3, seed=1)
    assert gradcheck(lambda left, right: edge_dots(graph, left, right), (left, right))
    assert gradcheck(lambda right: edge_dots(graph, left.detach(), right), (right,))
    assert gradcheck(lambda left: edge_dots(graph, left, right.detach()), (left,))
    assert gradcheck(lambda scores: edge_softmax(graph, scores), (_random(graph.num_edges),))
    assert gradcheck(lambda table: source_rows(graph, table), (right,))


def test_large_scores_do_not_overflow():
    graph = _graph("few")
    alpha = edge_softmax(graph, torch.tensor([1000.0, 1000.0, -1000.0, 1000.0, 0.0, -1000.0]))
    torch.testing.assert_close(alpha, torch.tensor([0.5, 0.5, 1.0, 1.0, 0.0, 0.0]))


def test_bits_repeat():
    graph = _graph("a hub")
    results = []
    for _ in range(2):
        left, right = _random(3, 64, dtype=torch.float32), _random(300, 64, seed=1, dtype=torch.float32)
        alpha = edge_softmax(graph, edge_dots(graph, left, right))
        (alpha[:, None] * source_rows(graph, right)).square().sum().backward()
        results.append((alpha, left.grad, right.grad))
    assert all(torch.equal(*pair) for pair in zip(*results))


def test_shapes_that_do_not_match_are_refused():
    graph = _graph("few")
    with pytest.raises(ValueError, match="5 scores for a graph of 6 edges"):
        edge_softmax(graph, torch.zeros(5))
    with pytest.raises(ValueError, match="x has shape"):
        edge_dots(graph, torch.zeros(5, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="x has shape"):
        source_rows(graph, torch.zeros(5, 2))
