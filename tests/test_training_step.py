"""A captured step is the eager step: its bookkeeping anywhere, its graph where there is a GPU."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_dataset

from mde_fast.kernels import NegativeTable, random_bits
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config
from mde_fast.training.adam import make_optimizer
from mde_fast.training.step import CapturedStep, TrainingStep

BATCH_SIZE = 64


class UncapturedStep(CapturedStep):
    """Replays by running the body again, so that what surrounds a graph can be tested without one."""

    def _capture(self) -> None:
        before = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.parts))
        for _ in range(2):
            self._body(self.short)
        sizes = self.batch_size, self.short
        self.graphs = {size: SimpleNamespace(replay=partial(self._body, size)) for size in sizes}
        self._restore(*before)


SMALL = {"embedding_size": 8, "projection_hidden": 8}
# What a step does differently beyond its defaults, and models with another step.
CONFIGURATIONS = {
    "infonce": {**SMALL, "msa": "infonce"},
    "free losses of nodes": {**SMALL, "nlt": "free"},
    "blended item graph": {**SMALL, "item_graph": "blend", "blend_weights": (0.3, 0.7)},
    "summed modalities": {**SMALL, "fusion": "sum"},
    "weighted users": {**SMALL, "fusion_nodes": "users"},
    "linear towers": {**SMALL, "projection": "linear"},
    "tables in bf16": {**SMALL, "storage": "bf16"},
    "LightGCN": {"model": "lightgcn", "embedding_size": 8},
    "FREEDOM, graphs of an epoch": {"model": "freedom", "embedding_size": 8},
}


def step_of(kind, device, options=SMALL, batch_size=BATCH_SIZE, size=(40, 30)):
    """A step of a fresh model with its triples loaded."""
    dataset = tiny_dataset(num_users=size[0], num_items=size[1])
    config = make_config({"dataset": "tiny", "cache_dir": "none", "learning_rate": 0.01, **options})
    model = make_model(config, dataset, torch.device(device))
    optimizer = make_optimizer(model, config.training, capturable=device == "cuda")
    model.begin_epoch(torch.Generator(device).manual_seed(0))
    users, items = (torch.from_numpy(column).to(device) for column in (dataset.train.users, dataset.train.items))
    negatives = NegativeTable.build(users, items, dataset.num_users, dataset.num_items)
    step = kind(model, optimizer, negatives, len(users), batch_size)
    step.begin_epoch(users, items, random_bits(users, torch.Generator(device).manual_seed(0)))
    return step


def train(step, epochs=2):
    losses = []
    for _ in range(epochs):
        for number in range(step.steps):
            step(number)
        losses.append(step.parts.clone())
    return torch.stack(losses)


def assert_same_training(captured, eager):
    assert torch.equal(train(captured), train(eager))
    for (name, ours), theirs in zip(captured.model.named_parameters(), eager.model.parameters()):
        assert torch.equal(ours, theirs), name


def test_the_case_has_full_batches_and_a_short_one():
    step = step_of(TrainingStep, "cpu")
    assert step.steps > 1 and step.draws.shape[1] % BATCH_SIZE


def test_the_counter_finds_every_batch_and_warming_up_leaves_no_trace():
    assert_same_training(step_of(UncapturedStep, "cpu"), step_of(TrainingStep, "cpu"))


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_bookkeeping_of_other_steps(options):
    assert_same_training(step_of(UncapturedStep, "cpu", options), step_of(TrainingStep, "cpu", options))


def test_going_on_in_the_middle_of_an_epoch():
    captured, eager = step_of(UncapturedStep, "cpu"), step_of(TrainingStep, "cpu")
    for step in (captured, eager):
        step(2)
        step(3)
        step(1)
    assert torch.equal(captured.parts, eager.parts)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graph_equals_eager():
    assert_same_training(step_of(CapturedStep, "cuda"), step_of(TrainingStep, "cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_cuda_graphs_of_other_steps(options):
    assert_same_training(step_of(CapturedStep, "cuda", options), step_of(TrainingStep, "cuda", options))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ("fp32", "tf32", "bf16"))
def test_cuda_graph_at_the_size_of_a_product(precision):
    """Libraries choose their kernels by size: embeddings of the usual width, items and batches that are no toys."""
    captured, eager = (
        step_of(kind, "cuda", {"precision": precision}, 2048, (300, 2000)) for kind in (CapturedStep, TrainingStep)
    )
    assert_same_training(captured, eager)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("batches", ("one", "even"))
def test_cuda_graph_of_batches_of_one_size(batches):
    count = step_of(TrainingStep, "cuda").draws.shape[1]
    size = {"batch_size": count if batches == "one" else next(n for n in range(2, count) if count % n == 0)}
    assert_same_training(step_of(CapturedStep, "cuda", **size), step_of(TrainingStep, "cuda", **size))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_training_repeats_bit_for_bit():
    first, second = (train(step_of(CapturedStep, "cuda")) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_epoch_does_not_wait_for_the_device():
    step = step_of(CapturedStep, "cuda")
    step(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(step.steps):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
