"""A training step of other codebases' models with and without ``mde_fast.accelerate``."""

from __future__ import annotations

import importlib.util
import time

import pytest
import torch

from bench.capture import AsCalled
from bench.graphs import interactions
from bench.other_models import LAYERS, MODELS
from bench.timing import interleave, synchronise, synchronised
from mde_fast import accelerate

WIDTH, BATCH = 64, 2048
TOLERANCE = 2e-5  # relative, float32, of the loss and the gradients of a step
LARGEST_GRAPH = 20_000_000  # edges; beyond, making the models takes longer than measuring them
LARGEST_MESSAGES = 2**30  # bytes of one layer's messages, of which PyTorch Geometric keeps several


class Step:
    """A model, its optimiser and one batch, trained on again and again."""

    def __init__(self, name: str, matrix, device: torch.device):
        torch.manual_seed(0)
        self.model = MODELS[name](matrix, WIDTH, device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        chosen = torch.randint(matrix.nnz, (BATCH,))
        coo = matrix.tocoo()
        self.batch = [torch.from_numpy(column)[chosen].long().to(device) for column in (coo.row, coo.col)]
        self.batch.append(torch.randint(matrix.shape[1], (BATCH,)).to(device))

    def __call__(self) -> torch.Tensor:
        self.model.before_step()
        self.optimizer.zero_grad()
        loss = self.model.loss(*self.batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def check(plain: Step, fast: Step) -> None:
    """No time is worth reporting for a wrong result: three steps, the first of which builds and the third repeats."""
    for _ in range(3):
        losses = [step().item() for step in (plain, fast)]
        assert losses[1] == pytest.approx(losses[0], rel=TOLERANCE)
        theirs, ours = (step.model.embedding.grad for step in (plain, fast))
        error = (ours - theirs).norm() / theirs.norm()
        assert error < TOLERANCE, f"gradients differ by {error:.1e}"
        with torch.no_grad():  # Adam magnifies roundings of gradients near 0: both go on from the same place
            fast.model.embedding.copy_(plain.model.embedding)


@pytest.mark.parametrize("model_name", MODELS)
def test_accelerated_step(benchmark, graphs, graph_name, model_name, device, seconds):
    graph = graphs(graph_name)
    if graph.num_edges > LARGEST_GRAPH:
        pytest.skip(f"{graph.num_edges:,} edges: models of other codebases are measured up to {LARGEST_GRAPH:,}")
    if model_name == "GeometricLightGCN":
        if importlib.util.find_spec("torch_geometric") is None:
            pytest.skip('PyTorch Geometric is not installed: pip install -e ".[interop]"')
        if graph.num_edges * WIDTH * 4 > LARGEST_MESSAGES:
            pytest.skip(f"{graph.num_edges:,} messages of {WIDTH} numbers are too many for PyTorch Geometric here")
    matrix = interactions(graph)
    plain, fast = (Step(model_name, matrix, device) for _ in range(2))
    acceleration = accelerate(fast.model, min_edges=0)
    started = time.perf_counter()
    fast()
    synchronise(device)
    first_step = (time.perf_counter() - started) * 1e3
    plain()
    with torch.no_grad():
        fast.model.embedding.copy_(plain.model.embedding)
    check(plain, fast)
    products = sum(replaced.products for replaced in acceleration.report().replaced)
    assert products, "nothing was replaced"
    variants = {name: AsCalled(step, "as its users train") for name, step in (("PyTorch", plain), ("mde_fast", fast))}
    timings = interleave(variants, device, seconds=2 * seconds, min_rounds=5)
    benchmark.extra_info.update(
        {
            "model": model_name,
            "about": " ".join(MODELS[model_name].__doc__.split()),
            "graph": graph_name,
            "edges": graph.num_edges,
            "width": WIDTH,
            "layers": LAYERS,
            "ms": {name: timing.as_dict() for name, timing in timings.items()},
            "first_step_ms": first_step,
            "speed_up": timings["PyTorch"].median / timings["mde_fast"].median,
        }
    )
    benchmark.pedantic(synchronised(fast, device), rounds=3)
