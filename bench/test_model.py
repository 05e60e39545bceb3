"""The whole step, an epoch, an evaluation and graph building."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch

from bench.agreement import agreeing
from bench.capture import AsCalled
from bench.rivals import compiled_step
from bench.steps import STEP_EAGER, STEP_REPLAYED, make_step
from bench.timing import interleave, peak_bytes, synchronised
from mde_fast.data import load_dataset
from mde_fast.data.dataset import InteractionDataset
from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.kernels import NegativeTable, sample_negatives
from mde_fast.ranking.beyond import BeyondAccuracy
from mde_fast.ranking.evaluator import Evaluator, hits_of, ranked_metrics
from mde_fast.runs.config import make_config
from mde_fast.training.step import TrainingStep

NAMES = ("baby", "clothing")


@pytest.fixture(scope="module", params=NAMES)
def dataset(request) -> InteractionDataset:
    if request.param not in request.config.getoption("--dataset").split(","):
        pytest.skip(f"{request.param} is not among --dataset")
    return load_dataset(request.param, data_dir=request.config.getoption("--data-dir"))


def mde_step(dataset, device, *, precision="fp32", captured=False, capturable=False) -> TrainingStep:
    """With all columns of the features: how many of them are independent is a matter of the dataset."""
    config = make_config({"dataset": dataset.name, "precision": precision, "feature_rank": "full"})
    return make_step(config, dataset, device, captured=captured, capturable=capturable)


def tower_only(step):
    """The matrix products of the feature towers, forward and backward: what the rest of a step is held against."""
    towers = step.model.towers
    upstream = [torch.randn_like(tower().detach()) for tower in towers]
    weights = [parameter for tower in towers for parameter in tower.parameters()]

    def run():
        # Not into .grad: a step puts other memory there, and a graph would go on writing to the old.
        torch.autograd.grad([tower() for tower in towers], weights, upstream)

    return run


def reference_step(step: TrainingStep):
    """The step with the reference operators."""

    def run():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MDE_FAST_IMPL", "reference")
            step(0)

    return run


def test_step(benchmark, dataset, device, seconds, compiled):
    """A training step in each precision, the towers alone, and the reference operators, eager and compiled."""
    steps = {"mde_fast": mde_step(dataset, device), "mde_fast bf16": mde_step(dataset, device, precision="bf16")}
    fp32, bf16 = steps
    if device.type == "cuda":
        for name, precision in ((fp32, "fp32"), (bf16, "bf16"), ("mde_fast tf32", "tf32")):
            steps[f"{name}, CUDA graph"] = mde_step(dataset, device, precision=precision, captured=True)
        fp32, bf16 = f"{fp32}, CUDA graph", f"{bf16}, CUDA graph"
    variants: dict[str, Callable[[], object]] = {
        name: AsCalled(lambda step=step: step(0), STEP_REPLAYED if "CUDA graph" in name else STEP_EAGER)
        for name, step in steps.items()
    }
    rivals = {"reference operators": reference_step}
    if compiled:
        rivals["torch.compile of the reference"] = compiled_step
    on_gpu = device.type == "cuda"
    for name, rival in rivals.items():
        steps[name] = mde_step(dataset, device, capturable=on_gpu)  # ours is replayed, so that they should be, too
        variants[name] = rival(steps[name])
    left_out = check_first_losses(steps, variants, dict.fromkeys(("mde_fast", fp32, *rivals)), device)
    variants = {name: run for name, run in variants.items() if name not in left_out}
    variants["towers alone"] = tower_only(steps["mde_fast"])
    variants["towers alone bf16"] = tower_only(steps["mde_fast bf16"])
    timings = interleave(variants, device, seconds=4 * seconds)
    rest = timings["mde_fast"].median - timings["towers alone"].median
    benchmark.extra_info.update(
        {
            "dataset": dataset.name,
            "data": dataset.data,
            "ms": {name: timing.as_dict() for name, timing in timings.items()},
            "percent_outside_towers": 100 * rest / timings["mde_fast"].median,
            "steps_per_epoch": steps["mde_fast"].steps,
            "seconds_per_epoch": steps["mde_fast"].steps * timings[fp32].median / 1e3,
            "seconds_per_epoch_bf16": steps["mde_fast"].steps * timings[bf16].median / 1e3,
        }
    )
    if left_out:
        benchmark.extra_info["left_out"] = left_out
    model = steps["mde_fast"].model
    buffer = (dataset.num_users + dataset.num_items) * len(dataset.features) * model.options.embedding_size * 4
    steps["mde_fast"].optimizer.zero_grad(set_to_none=True)  # gradients belong to the step, not to what stood before it
    benchmark.extra_info["peak_bytes"] = peak_bytes(variants["mde_fast"], device)
    benchmark.extra_info["peak_buffers"] = benchmark.extra_info["peak_bytes"] / buffer
    benchmark.pedantic(synchronised(variants["mde_fast"], device), rounds=5)


def check_first_losses(steps, variants, exact: Iterable[str], device) -> dict[str, str]:
    """Why variants are left out: equal models on the same draws have the same losses in float32."""

    def losses(name: str, run) -> list[float]:
        steps[name].draws.copy_(steps["mde_fast"].draws)
        run()
        return steps[name].parts[0].tolist()

    expected = losses("mde_fast", variants["mde_fast"])

    def agrees(name, run):
        if name != "mde_fast":
            assert losses(name, run) == pytest.approx(expected, rel=1e-4, abs=1e-6), name

    return agreeing({name: variants[name] for name in exact}, agrees, device)[1]


def test_evaluation(benchmark, dataset, device, seconds):
    """All four metrics at 5, 10, 20 and 50 for every user of the validation split."""
    evaluator = Evaluator(dataset, (5, 10, 20, 50), device)
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 128, generator=generator) for n in (dataset.num_users, dataset.num_items))
    users, items = users.to(device), items.to(device)
    evaluation = AsCalled(lambda: evaluator(users, items, "valid"), "its metrics end on the CPU")
    timing = interleave({"mde_fast": evaluation}, device, seconds=seconds)["mde_fast"]
    benchmark.extra_info.update(dataset=dataset.name, ms=timing.as_dict())
    benchmark.pedantic(synchronised(evaluator, device), args=(users, items, "valid"), rounds=3)


def test_beyond_accuracy(benchmark, dataset, device, seconds):
    """What ``evaluate --beyond`` adds to an evaluation of the test split, by groups of users too."""
    evaluator = Evaluator(dataset, (5, 10, 20, 50), device)
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 64, generator=generator) for n in (dataset.num_users, dataset.num_items))
    users, items = users.to(device), items.to(device)
    measure = BeyondAccuracy(dataset.train_matrix, evaluator.cutoffs)

    def lists():
        ranked, rows = evaluator.rank(users, items, "test")
        relevant = evaluator.held_out["test"][rows]
        hits = hits_of(ranked, relevant)
        return ranked, rows, hits, ranked_metrics(ranked, relevant, evaluator.cutoffs, hits=hits)

    ranked = lists()
    why = "it ends on the CPU"
    variants = {"evaluation": AsCalled(lists, why), "beyond accuracy": AsCalled(lambda: measure(*ranked), why)}
    ms = {name: timing.as_dict() for name, timing in interleave(variants, device, seconds=seconds).items()}
    share = ms["beyond accuracy"]["median"] / ms["evaluation"]["median"]
    benchmark.extra_info.update(dataset=dataset.name, ms=ms, share=share)
    benchmark.pedantic(measure, args=ranked, rounds=3)


def test_graphs(benchmark, dataset, tmp_path):
    """All graphs, cold and from the cache."""
    store = GraphStore(dataset.train_matrix, dataset.features, GraphCache(tmp_path))

    def every_graph():
        return store.user_item(), store.co_occurrence(40), store.item_graphs(10)

    started = time.perf_counter()
    every_graph()
    cold = time.perf_counter() - started
    benchmark.pedantic(every_graph, rounds=5)
    benchmark.extra_info.update(dataset=dataset.name, data=dataset.data, cold_seconds=cold)


def test_negatives(benchmark, dataset, device, seconds):
    """An epoch's negatives, against the array code a user would write: draw, look up, draw again what was seen."""
    users, items = (torch.from_numpy(column).to(device) for column in (dataset.train.users, dataset.train.items))
    table = NegativeTable.build(users, items, dataset.num_users, dataset.num_items)
    seen = np.sort(dataset.train.users * dataset.num_items + dataset.train.items)
    rng = np.random.default_rng(0)
    candidates = np.unique(dataset.train.items)

    def numpy_rejection():
        drawn = candidates[rng.integers(len(candidates), size=len(dataset.train))]
        open_rows = np.arange(len(drawn))
        while len(open_rows):
            keys = dataset.train.users[open_rows] * dataset.num_items + drawn[open_rows]
            place = np.searchsorted(seen, keys).clip(max=len(seen) - 1)
            open_rows = open_rows[seen[place] == keys]
            drawn[open_rows] = candidates[rng.integers(len(candidates), size=len(open_rows))]
        return drawn

    variants = {
        "mde_fast": lambda: sample_negatives(table, users),
        "numpy rejection": AsCalled(numpy_rejection, "on the CPU"),
    }
    timings = interleave(variants, device, seconds=seconds)
    benchmark.extra_info.update(dataset=dataset.name, ms={name: timing.as_dict() for name, timing in timings.items()})
    benchmark.pedantic(synchronised(variants["mde_fast"], device), rounds=5)
