"""The first layer of Baby's image tower made in other ways, and how far float64 is from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.timing import interleave, synchronised
from mde_fast.data import load_dataset
from mde_fast.kernels.project_rows.native import project_rows_backward_native, project_rows_forward_native
from mde_fast.nn.feature_rank import FeatureRank
from mde_fast.nn.towers import FeatureTower

ITEMS, COLUMNS, OTHER_COLUMNS, HIDDEN, DIM = 7050, 4096, 384, 256, 64
ROWS_PER_BLOCK = 512  # whose features and results stay in a core's cache
LIBRARY, NATIVE = "a library's product", "native"
PRODUCTS = (
    "forward",
    "gradient of the weight",
    "gradients of both towers' weights",
    "forward and gradient of the weight",
)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blocks(run: Callable[[slice], Any]) -> list[Any]:
    return [run(slice(start, start + ROWS_PER_BLOCK)) for start in range(0, ITEMS, ROWS_PER_BLOCK)]


def ways() -> dict[str, dict[str, Callable[[], object]]]:
    """What is made -> how, FeatureTower's way first; x is features, d the gradient of the result."""
    x, w, b = drawn(ITEMS, COLUMNS, seed=0), drawn(HIDDEN, COLUMNS, seed=1), torch.zeros(HIDDEN)
    d = drawn(ITEMS, HIDDEN, seed=2)
    other, other_d = drawn(ITEMS, OTHER_COLUMNS, seed=3), drawn(ITEMS, HIDDEN, seed=4)
    half = x.half()
    both_x, both_d = torch.cat([x, other], dim=1), torch.cat([d, other_d], dim=1)
    onednn = torch.ops.mkldnn._linear_pointwise
    return {
        "forward": {
            LIBRARY: lambda: F.linear(x, w, b),
            NATIVE: lambda: project_rows_forward_native(x, None, w, b, "fp32"),
            "oneDNN": lambda: onednn(x, w, b, "none", [], ""),
            "stored as float16, in blocks": lambda: blocks(lambda rows: half[rows].float() @ w.T),
        },
        "gradient of the weight": {
            LIBRARY: lambda: d.T @ x,
            NATIVE: lambda: project_rows_backward_native(d, x, None, w, "fp32", False),
            "oneDNN": lambda: onednn(d.T.contiguous(), x.T, None, "none", [], ""),
            "stored as float16, in blocks": lambda: sum(blocks(lambda rows: d[rows].T @ half[rows].float())),
        },
        "gradients of both towers' weights": {
            LIBRARY: lambda: (d.T @ x, other_d.T @ other),
            "one product": lambda: both_d.T @ both_x,
        },
        "forward and gradient of the weight": {
            LIBRARY: lambda: (F.linear(x, w, b), d.T @ x),
            "in blocks": lambda: blocks(lambda rows: (F.linear(x[rows], w, b), d[rows].T @ x[rows])),
        },
    }


@pytest.mark.parametrize("product", PRODUCTS)
def test_tower_product(benchmark, product, device, seconds):
    if device.type != "cpu":
        pytest.skip("libraries of CPUs")
    variants = ways()[product]
    timings = interleave(variants, device, seconds=seconds * len(variants))
    benchmark.extra_info.update(
        product=product,
        instructions=torch.backends.cpu.get_cpu_capability(),
        ms={name: timing.as_dict() for name, timing in timings.items()},
    )
    benchmark.pedantic(synchronised(variants[LIBRARY], device), rounds=3)


@pytest.mark.parametrize("precision", ("fp32", "bf16"))
def test_roundings_of_a_tower(benchmark, request, precision):
    """||one - other|| / ||other|| of a tower's result and of W's gradient, the other being float64 over all columns."""
    dataset = load_dataset("baby", data_dir=request.config.getoption("--data-dir"))
    features = torch.from_numpy(dataset.features["image"])
    upstream = drawn(len(features), DIM, seed=5)
    factors = FeatureRank("exact")("image", features)

    def results(content, precision="fp32", dtype=torch.float32) -> list[Tensor]:
        generator = torch.Generator().manual_seed(2)
        tower = FeatureTower(content, DIM, precision=precision, generator=generator).to(dtype)
        out = tower()
        return [out.detach(), *torch.autograd.grad(out, tower.first.weight, upstream.to(dtype))]

    exact = results(features, dtype=torch.float64)
    errors = {
        name: [float((one - other).norm() / other.norm()) for one, other in zip(results(content, precision), exact)]
        for name, content in (("all columns", features), ("factors", factors))
    }
    benchmark.extra_info.update(precision=precision, errors=errors)
    benchmark.pedantic(results, args=(factors, precision), rounds=1)
