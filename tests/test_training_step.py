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
from mde_fast.training.step import CapturedStep, TrainingStep

BATCH_SIZE = 64


class UncapturedStep(CapturedStep):
    """Replays by running the body again, so that what surrounds a graph can be tested without one."""

    def _capture(self) -> None:
        before = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict(), self.parts))
        for _ in range(2):
            self._body(self.short)
        self.graphs = {size: SimpleNamespace(replay=partial(self._body, size)) for size in (BATCH_SIZE, self.short)}
        self._restore(*before)


def step_of(kind, device):
    """A step of a fresh model with its triples loaded."""
    dataset = tiny_dataset(num_users=40, num_items=30)
    config = make_config({"dataset": "tiny", "embedding_size": 8, "projection_hidden": 8, "cache_dir": "none"})
    model = make_model(config, dataset, torch.device(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True, capturable=device == "cuda")
    users, items = (torch.from_numpy(column).to(device) for column in (dataset.train.users, dataset.train.items))
    negatives = NegativeTable.build(users, items, dataset.num_users, dataset.num_items)
    step = kind(model, optimizer, negatives, len(users), BATCH_SIZE)
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
    assert eager.steps > 1 and eager.draws.shape[1] % BATCH_SIZE, "the case needs full batches and a short one"
    assert torch.equal(train(captured), train(eager))
    for (name, ours), theirs in zip(captured.model.named_parameters(), eager.model.parameters()):
        assert torch.equal(ours, theirs), name


def test_the_counter_finds_every_batch_and_warming_up_leaves_no_trace():
    assert_same_training(step_of(UncapturedStep, "cpu"), step_of(TrainingStep, "cpu"))


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
def test_an_epoch_does_not_wait_for_the_device():
    step = step_of(CapturedStep, "cuda")
    step(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(step.steps):
            step(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
