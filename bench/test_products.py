"""propagate and spmm against what else a user could call, on real and synthetic graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.agreement import agreeing
from bench.capture import marked_as
from bench.ceiling import Ceiling, gather_ceiling
from bench.graphs import interactions
from bench.rivals import propagate_rivals, spmm_rivals
from bench.timing import Timing, interleave_hot_and_flushed, synchronised
from mde_fast.kernels import propagate, spmm

LAYERS = 2
TOLERANCE = 2e-5  # relative, float32: sums of up to some thousand terms in another order


def forward_backward(run, x, upstream):
    """Output and gradient of one call."""
    leaf = x.detach().requires_grad_()
    out = run(leaf)
    (gradient,) = torch.autograd.grad(out, leaf, upstream)
    return out.detach(), gradient


def check(variants, x, upstream) -> tuple[dict, dict[str, str]]:
    """Variants with our result, and why others are left out."""
    expected = forward_backward(variants["mde_fast"], x, upstream)

    def agrees(name, run):
        for ours, theirs in zip(expected, forward_backward(run, x, upstream)):
            error = (ours - theirs).norm() / theirs.norm()
            assert error < TOLERANCE, f"mde_fast and {name} differ by {error:.1e}"

    return agreeing(variants, agrees, x.device)


def measure(benchmark, variants, x, device, seconds, gathered_bytes: int, ceiling: Ceiling) -> None:
    upstream = torch.randn_like(x)
    variants, left_out = check(variants, x, upstream)
    directions = {
        "forward_ms": {name: marked_as(run, lambda run=run: run(x)) for name, run in variants.items()},
        "forward_backward_ms": {
            name: marked_as(run, lambda run=run: forward_backward(run, x, upstream)) for name, run in variants.items()
        },
    }
    hot, flushed = {}, {}
    for direction, each in directions.items():
        hot[direction], flushed[direction] = interleave_hot_and_flushed(each, device, seconds=seconds)
    benchmark.extra_info.update(described(hot, gathered_bytes, ceiling.gb_s), gather_ceiling=vars(ceiling))
    if left_out:
        benchmark.extra_info["left_out"] = left_out
    if ceiling.flushed_gb_s is not None:
        benchmark.extra_info["flushed"] = described(flushed, gathered_bytes, ceiling.flushed_gb_s)
    benchmark.pedantic(synchronised(forward_backward, device), args=(variants["mde_fast"], x, upstream), rounds=5)


def described(timings: dict[str, dict[str, Timing]], gathered_bytes: int, ceiling: float) -> dict[str, Any]:
    """Both directions, how we stand against the best of the others, and what share of the ceiling we reach."""
    both = timings["forward_backward_ms"]
    best = min(timing.median for name, timing in both.items() if name != "mde_fast")
    return {
        **{kind: {name: each.as_dict() for name, each in rows.items()} for kind, rows in timings.items()},
        "speed_up_over_best": best / both["mde_fast"].median,
        "gathered_bytes": gathered_bytes,
        "gather_ceiling_gb_s": ceiling,
        "percent_of_ceiling": 100 * gathered_bytes / timings["forward_ms"]["mde_fast"].median / 1e6 / ceiling,
    }


def test_propagate(benchmark, graphs, graph_name, width, device, seconds, compiled):
    graph = graphs(graph_name)
    x = torch.randn(graph.shape[0], width, device=device)
    variants = {"mde_fast": lambda x: propagate(graph, x, layers=LAYERS)}
    variants |= propagate_rivals(graph, LAYERS, width, compiled=compiled)
    ceiling = gather_ceiling(device, width, graph.shape[0], graph.num_edges)
    measure(benchmark, variants, x, device, seconds, LAYERS * graph.num_edges * width * 4, ceiling)
    benchmark.extra_info.update(graph=graph_name, edges=graph.num_edges, nodes=graph.shape[0], width=width)


def test_spmm_not_symmetric(benchmark, graphs, graph_name, width, device, seconds, compiled):
    """A weighted graph that is not symmetric, with its residual: eq. 4's user graph."""
    from mde_fast.graphs.co_occurrence import co_occurrence_graph

    full = graphs(graph_name)
    if full.num_edges > 1_000_000:
        pytest.skip("the co-occurrence graph of this one takes longer to build than to measure")
    graph = co_occurrence_graph(interactions(full), 40).to(device)
    x = torch.randn(graph.shape[0], width, device=device)
    variants = {"mde_fast": lambda x: spmm(graph, x, residual=x)} | spmm_rivals(graph, width, compiled=compiled)
    ceiling = gather_ceiling(device, width, graph.shape[0], graph.num_edges)
    measure(benchmark, variants, x, device, seconds, graph.num_edges * width * 4, ceiling)
    benchmark.extra_info.update(graph=graph_name, edges=graph.num_edges, nodes=graph.shape[0], width=width)
