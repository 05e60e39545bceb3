"""How row_sum's kernel would do if launched otherwise: pieces a program, warps a program, edges taken at once."""

from __future__ import annotations

import itertools
import os

import pytest
import torch

from bench.timing import interleave_hot_and_flushed, synchronised
from mde_fast.kernels.spmm.primitives import edges_of, row_sum

TOGETHER, BLOCKS, WARPS = (1, 2, 4, 8), (8, 16), (1, 2, 4)
TOLERANCE = 2e-5


def test_row_sum_launches(benchmark, graphs, graph_name, width, device, seconds, monkeypatch):
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton's kernels run on a GPU, or in its interpreter with TRITON_INTERPRET=1")
    from bench.pieces_kernel import sums_of_pieces  # triton decides at its import whether it interprets

    monkeypatch.setenv("MDE_FAST_IMPL", "triton")
    graph = graphs(graph_name)
    x = torch.randn(graph.shape[0], width, device=device)
    edges = edges_of(graph, torch.float32, degree_scaled=True)
    columns, scale, pieces = edges.columns, edges.scale, edges.pieces
    nothing = pieces.clone()
    nothing[:, 2] = nothing[:, 1]  # what a program costs that reads no neighbour
    expected = row_sum(*edges, x, None, 1.0)
    variants = {"row_sum": lambda: row_sum(*edges, x, None, 1.0)}
    for shape in itertools.product(TOGETHER, BLOCKS, WARPS):
        sums = sums_of_pieces(x, columns, scale, pieces, *shape)
        rows = torch.zeros_like(x).index_add_(0, pieces[:, 0].long(), sums)
        error = (rows - expected).norm() / expected.norm()
        assert error < TOLERANCE, f"{shape} differs by {error:.1e}"
        together, block, warps = shape
        name = f"{together} pieces, {block} edges, {warps} warps"
        variants[name] = lambda shape=shape: sums_of_pieces(x, columns, scale, pieces, *shape)
        if block == BLOCKS[0]:
            variants[f"{name}, no edges"] = lambda shape=shape: sums_of_pieces(x, columns, scale, nothing, *shape)
    hot, flushed = interleave_hot_and_flushed(variants, device, seconds=seconds * 2)
    benchmark.extra_info.update(
        graph=graph_name,
        edges=graph.num_edges,
        nodes=graph.shape[0],
        pieces=len(pieces),
        width=width,
        ms={name: timing.as_dict() for name, timing in hot.items()},
        flushed_ms={name: timing.as_dict() for name, timing in flushed.items()},
    )
    benchmark.pedantic(synchronised(variants["row_sum"], device), rounds=3)
