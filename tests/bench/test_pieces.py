"""The kernel whose launches are compared adds up every piece, whatever the launch."""

import os

import pytest
import torch

from bench.graphs import synthetic_graph

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


@pytest.mark.parametrize("width", (16, 17, 200))
@pytest.mark.parametrize("shape", ((1, 8, 1), (4, 8, 2), (3, 16, 4)), ids=str)
def test_sums_of_pieces(shape, width):
    pytest.importorskip("triton")
    from bench.pieces_kernel import sums_of_pieces

    graph = synthetic_graph(200).to(DEVICE)
    x = torch.randn(graph.shape[1], width, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    scale, pieces = graph.inverse_sqrt_degrees(), graph.pieces().pieces
    assert len(pieces) % shape[0] or shape[0] == 1, "the last program has pieces that are not there"
    sums = sums_of_pieces(x, graph.columns, scale, pieces, *shape)
    messages = (scale[graph.columns.long()][:, None] * x[graph.columns.long()]).double()
    expected = torch.stack([scale[row].double() * messages[first:last].sum(0) for row, first, last, _ in pieces])
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-6)
