"""What is inside a training step: its kernels by a profiler, what the first steps cost, and memory that stays."""

from __future__ import annotations

import time

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from bench.steps import make_step
from bench.timing import milliseconds, synchronise, synchronised
from mde_fast.data import load_dataset
from mde_fast.ranking.evaluator import Evaluator
from mde_fast.runs.config import make_config

DATASET = "clothing"
REPLAYS = 20


@pytest.fixture(scope="module")
def dataset(request):
    return load_dataset(DATASET, data_dir=request.config.getoption("--data-dir"))


def kernels_of(step, device) -> dict[str, dict[str, float]]:
    """Kernel -> how often a step runs it, and its microseconds in all; on a CPU operators take its place."""
    on_gpu = device.type == "cuda"
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        for _ in range(REPLAYS):
            step(0)
        synchronise(device)
    rows = {}
    for event in profiled.key_averages():
        if event.device_type == kind:
            time_in_all = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            rows[event.key] = {"count": event.count / REPLAYS, "us": time_in_all / REPLAYS}
    return dict(sorted(rows.items(), key=lambda row: -row[1]["us"]))


@pytest.mark.parametrize("precision", ("fp32", "tf32", "bf16"))
def test_replayed_step(benchmark, dataset, device, precision):
    on_gpu = device.type == "cuda"
    if precision == "tf32" and not on_gpu:
        pytest.skip("tf32 is a GPU's")
    config = make_config({"dataset": DATASET, "precision": precision, "feature_rank": "full"})
    step = make_step(config, dataset, device, captured=on_gpu)
    seconds = []
    for _ in range(2):  # the first epoch compiles and records
        started = time.perf_counter()
        for number in range(step.steps):
            step(number)
            if number == 0:
                synchronise(device)
                seconds.append(time.perf_counter() - started)
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    first_step, first_epoch, _, second_epoch = seconds
    assert torch.isfinite(step.parts).all()
    evaluator = Evaluator(dataset, (20,), device)
    reserved = []
    if on_gpu:
        for _ in range(3):
            for number in range(step.steps):
                step(number)
            evaluator(*step.model.embeddings(), "valid")
            reserved.append(torch.cuda.memory_reserved(device))
    kernels = kernels_of(step, device)
    benchmark.extra_info.update(
        dataset=dataset.name,
        data=dataset.data,
        precision=precision,
        kernels=kernels,
        nodes=sum(row["count"] for row in kernels.values()),
        us_in_kernels=sum(row["us"] for row in kernels.values()),
        us=1e3 * milliseconds(lambda: step(0), device, REPLAYS),
        first_step_seconds=first_step,
        first_epoch_seconds=first_epoch,
        epoch_seconds=second_epoch,
        reserved_bytes=reserved,
    )
    assert len(set(reserved[1:])) <= 1, f"reserved memory grows: {reserved}"
    benchmark.pedantic(synchronised(step, device), args=(0,), rounds=5)
