"""A training step with tables, gradients and moments in float32, and in bfloat16 (``--storage``): time and memory."""

from __future__ import annotations

import itertools

import pytest
import torch

from bench.capture import AsCalled
from bench.steps import STEP_REPLAYED, make_step
from bench.timing import interleave, peak_bytes, synchronised
from mde_fast.data import load_dataset
from mde_fast.runs.config import make_config
from mde_fast.training.step import TrainingStep

DATASETS = ("baby", "clothing")
MODELS = ("lightgcn", "mde")
STORAGES = ("fp32", "bf16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where graphs and factors are kept between models."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_storage(benchmark, request, folder, device, seconds, model, name):
    if name not in request.config.getoption("--dataset").split(","):
        pytest.skip(f"{name} is not among --dataset")
    dataset = load_dataset(name, data_dir=request.config.getoption("--data-dir"), use_features=model != "lightgcn")
    steps = {}
    for storage in STORAGES:
        config = make_config({"model": model, "dataset": name, "storage": storage, "cache_dir": str(folder)})
        steps[storage] = make_step(config, dataset, device, captured=device.type == "cuda")
    variants = {storage: AsCalled(lambda step=step: step(0), STEP_REPLAYED) for storage, step in steps.items()}
    timings = interleave(variants, device, seconds=seconds * len(steps))
    for step in steps.values():  # gradients belong to the step, not to what stood before it
        step.optimizer.zero_grad(set_to_none=True)
    benchmark.extra_info.update(
        model=model,
        dataset=name,
        data=dataset.data,
        ms={storage: timing.as_dict() for storage, timing in timings.items()},
        peak={storage: peak_bytes(variants[storage], device) for storage in STORAGES},
        kept={storage: kept_bytes(step) for storage, step in steps.items()},
    )
    benchmark.pedantic(synchronised(variants["bf16"], device), rounds=3)


def kept_bytes(step: TrainingStep) -> int:
    """Of parameters and Adam's moments, which stand between steps."""
    moments = itertools.chain.from_iterable(state.values() for state in step.optimizer.state.values())
    return sum(tensor.nbytes for tensor in itertools.chain(step.model.parameters(), moments) if torch.is_tensor(tensor))
