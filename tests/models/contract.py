"""Every promise of :class:`mde_fast.models.Model`, as tests of whichever model a subclass names."""

from __future__ import annotations

import copy
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mde_fast.data.dataset import InteractionDataset
from mde_fast.data.options import DataOptions
from mde_fast.files import Checkpoints, Folder, without_prefix
from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.kernels.dispatch import Primitive
from mde_fast.models import Batch, Inputs, Model
from mde_fast.nn.feature_rank import FeatureRank
from mde_fast.ranking.options import EvaluationOptions
from mde_fast.search.space import searchable
from mde_fast.training.options import TrainingOptions
from mde_fast.training.trainer import Trainer

EPOCHS, STEPS = 3, 4
MOST_BUFFERS = 40  # of (U + I, E) numbers at the peak of a step; a matrix of users by items is 60 and more


class Stopped(Exception):
    """The process is gone: nothing is saved any more."""


class ModelContract:
    """What every model promises. Subclasses say which model, and with which options it is small."""

    model: type[Model]
    small: dict = {}
    modalities: tuple[str, ...] = ("image", "text")
    rank = FeatureRank()

    # -----------------------------------------------------------------------------------------------------------------
    # What the promises are tried on.

    def dataset(self, num_users: int = 60, num_items: int = 40) -> InteractionDataset:
        density = 0.12 if num_users == 60 else 0.03
        return tiny_dataset(num_users=num_users, num_items=num_items, modalities=self.modalities, density=density)

    def build(self, dataset: InteractionDataset, *, seed: int = 1) -> Model:
        inputs = Inputs(
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            features={name: torch.from_numpy(matrix) for name, matrix in dataset.features.items()},
            graphs=GraphStore(dataset.train_matrix, dataset.features, GraphCache(None)),
            precision="fp32",
            generator=torch.Generator().manual_seed(seed),
            rank=self.rank,
        )
        return self.model.build(self.model.Options(**self.small), inputs)

    def trainer(self, folder: Path, *, seed: int = 1, epochs: int = EPOCHS) -> Trainer:
        dataset = self.dataset()
        checkpoints = Checkpoints(Folder(folder))
        checkpoints.make("the folder")
        batch_size = -(-len(dataset.train) // STEPS)
        return Trainer(
            self.build(dataset, seed=seed),
            dataset,
            checkpoints,
            training=TrainingOptions(
                epochs=epochs, learning_rate=0.01, seed=seed, device="cpu", train_batch_size=batch_size
            ),
            evaluation=EvaluationOptions(topk=(5,), valid_metric="recall@5"),
            kept={},
        )

    def trained(self, folder: Path, **options) -> Trainer:
        trainer = self.trainer(folder, **options)
        trainer.fit()
        return trainer

    def gone_on(self, folder: Path) -> Trainer:
        """A training taken up again from what lies in its folder."""
        trainer = self.trainer(folder)
        trainer.restore()
        trainer.fit()
        return trainer

    # -----------------------------------------------------------------------------------------------------------------
    # Form

    def test_it_says_what_it_is(self):
        assert self.model.title and self.model.Options.owner
        assert all(option.help for option in self.model.Options.schema().values())
        dataset = self.dataset()
        parts = self.build(dataset).loss_parts(random_batch(dataset))
        assert parts.shape == (len(self.build(dataset).part_names),) and parts.dtype == torch.float32

    def test_its_options_are_its_own(self):
        for room in (DataOptions, TrainingOptions, EvaluationOptions):
            assert not room.schema().keys() & self.model.Options.schema().keys()
        assert "model" not in self.model.Options.schema()

    def test_embeddings_have_a_row_for_everyone(self):
        dataset = self.dataset()
        users, items = self.build(dataset).embeddings()
        assert users.shape[0] == dataset.num_users and items.shape[0] == dataset.num_items
        assert users.shape[1] == items.shape[1] and users.dtype == items.dtype == torch.float32
        assert not (users.requires_grad or items.requires_grad)

    # -----------------------------------------------------------------------------------------------------------------
    # Chance

    def test_no_global_generator_is_touched(self, tmp_path):
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        self.trained(tmp_path).model.embeddings()
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]

    def test_ranking_has_no_chance(self, tmp_path):
        """In training mode or not, before an epoch or after it."""
        model = self.trained(tmp_path).model
        first = model.train().embeddings()
        model.begin_epoch(torch.Generator().manual_seed(9))
        second = model.eval().embeddings()
        assert all(torch.equal(one, other) for one, other in zip(first, second))

    # -----------------------------------------------------------------------------------------------------------------
    # Going on

    def test_what_was_saved_ranks_the_same(self, tmp_path):
        trainer = self.trained(tmp_path)
        _, tensors = trainer.checkpoints.load("best")
        fresh = self.build(self.dataset(), seed=5)
        fresh.load_state_dict(without_prefix(tensors, "model."))
        users, items = fresh.embeddings()
        assert torch.equal(users, tensors["user_embeddings"]) and torch.equal(items, tensors["item_embeddings"])


class LearnerContract(ModelContract):
    """What a model that learns promises besides."""

    most_calls: float = float("inf")  # of kernels, in the forward and backward pass of a step

    # -----------------------------------------------------------------------------------------------------------------
    # Numbers

    def test_losses_and_gradients_are_finite(self):
        """Also for users without an interaction, items without a user, and triples that repeat."""
        dataset = self.dataset()
        model = self.build(dataset)
        model.begin_epoch(torch.Generator().manual_seed(0))
        batch = random_batch(dataset, 200)
        batch.users[:3], batch.positives[:3], batch.negatives[:3] = 0, dataset.num_items - 1, dataset.num_items - 1
        parts = model.loss_parts(batch)
        parts.sum().backward()
        assert torch.isfinite(parts).all()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name

    def test_it_learns(self, tmp_path):
        history = self.trained(tmp_path, epochs=6).progress.history
        assert history[-1]["loss"] < history[0]["loss"]

    # -----------------------------------------------------------------------------------------------------------------
    # Chance

    def test_the_same_seed_gives_the_same_bits(self, tmp_path):
        one, other, third = (
            self.trained(tmp_path / name, seed=seed) for name, seed in (("one", 1), ("other", 1), ("third", 2))
        )
        assert_same_training(one, other)
        assert any(not torch.equal(*pair) for pair in zip(one.model.parameters(), third.model.parameters()))

    def test_chance_comes_from_the_batch_alone(self):
        dataset = self.dataset()
        model, batch = self.build(dataset), random_batch(dataset)
        first, again = model.loss_parts(batch), model.loss_parts(batch)
        assert torch.equal(first, again)

    def test_threads_change_no_more_than_roundings(self):
        """Bits hold for a number of threads; another number may round other sums differently."""
        dataset, results = self.dataset(300, 200), []
        before = torch.get_num_threads()
        try:
            for threads in (1, 2, 2):
                torch.set_num_threads(threads)
                model = self.build(dataset)
                parts = model.loss_parts(random_batch(dataset))
                parts.sum().backward()
                results.append([parts.detach(), *(parameter.grad for parameter in model.parameters())])
        finally:
            torch.set_num_threads(before)
        one, two, again = results
        assert all(torch.equal(*pair) for pair in zip(two, again))
        for alone, shared in zip(one, two):
            torch.testing.assert_close(alone, shared, rtol=1e-4, atol=1e-6)

    # -----------------------------------------------------------------------------------------------------------------
    # Going on

    def test_a_stopped_training_goes_on_as_if_it_had_not_been(self, tmp_path):
        whole = self.trained(tmp_path / "whole")
        for step in (1, STEPS, STEPS + 2):
            trainer = self.trainer(tmp_path / f"stopped-{step}")
            do_at_step(trainer, step, lambda trainer=trainer: setattr(trainer, "interrupted", True))
            trainer.fit()
            assert_same_training(whole, self.gone_on(tmp_path / f"stopped-{step}"))

    def test_a_killed_training_goes_on_from_its_last_checkpoint(self, tmp_path):
        whole = self.trained(tmp_path / "whole")
        for step in (2, STEPS + 1, 2 * STEPS + 3):
            trainer = self.trainer(tmp_path / f"killed-{step}")

            def kill():
                raise Stopped

            do_at_step(trainer, step, kill)
            with pytest.raises(Stopped):
                trainer.fit()
            assert_same_training(whole, self.gone_on(tmp_path / f"killed-{step}"))

    # -----------------------------------------------------------------------------------------------------------------
    # Speed and size

    def test_a_step_compiles(self):
        dataset = self.dataset()
        model, batch = self.build(dataset), random_batch(dataset)
        model.embeddings()  # whatever a graph makes at its first use
        eager = model.loss_parts(batch)
        expected = torch.autograd.grad(eager.sum(), list(model.parameters()), allow_unused=True)
        torch._dynamo.reset()
        compiled = torch.compile(
            lambda *columns: model.loss_parts(Batch(*columns)), backend="aot_eager", fullgraph=True
        )
        parts = compiled(batch.users, batch.positives, batch.negatives, batch.bits)
        actual = torch.autograd.grad(parts.sum(), list(model.parameters()), allow_unused=True)
        torch.testing.assert_close(parts, eager)
        for (name, _), ours, theirs in zip(model.named_parameters(), actual, expected):
            assert (ours is None) == (theirs is None), name
            if ours is not None:
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)

    def test_a_step_asks_the_host_for_nothing(self, monkeypatch):
        """Its forward and backward pass run on tensors without numbers, so that none decides what runs next.

        Operators are their registered selves there, as kernels on a GPU have them. What is counted is what a GPU would
        be asked for at most: calls that are no view and make more than room.
        """
        dataset = self.dataset()
        model, batch = self.build(dataset), random_batch(dataset)
        model.begin_epoch(torch.Generator().manual_seed(0))
        model.loss_parts(batch).sum().backward()  # whatever a graph makes at its first use
        model.zero_grad(set_to_none=True)
        monkeypatch.setattr(Primitive, "_run", lambda primitive, *arguments: primitive.registered(*arguments))
        fake = FakeTensorMode()
        with FakeCopyMode(fake):
            model, batch = copy.deepcopy((model, batch))
        with fake, Calls() as calls:
            model.loss_parts(batch).sum().backward()
        assert 0 < calls.number <= self.most_calls, calls.number

    def test_memory_of_a_step_follows_the_embeddings(self):
        """And not the square of anything; nor does a second step need more than the first."""
        dataset = self.dataset(900, 600)
        model, batch = self.build(dataset), random_batch(dataset, 64)
        width = model.embeddings()[0].shape[1]
        peaks = []
        for _ in range(2):
            model.zero_grad(set_to_none=True)
            peaks.append(peak_bytes(lambda: model.loss_parts(batch).sum().backward()))
        buffers = peaks[1] / (4 * width * (dataset.num_users + dataset.num_items))
        assert buffers <= MOST_BUFFERS and peaks[1] <= peaks[0] * 1.05, (buffers, peaks)


class ReadyContract(ModelContract):
    """What a model that learns nothing promises besides."""

    def test_it_has_nothing_to_train(self):
        model = self.build(self.dataset())
        assert not (self.model.learns or list(model.parameters()) or model.state_dict() or model.part_names)

    def test_every_seed_gives_the_same_bits(self):
        one, other = (self.build(self.dataset(), seed=seed).embeddings() for seed in (1, 2))
        assert all(torch.equal(*pair) for pair in zip(one, other))

    def test_threads_change_no_more_than_roundings(self):
        dataset, results = self.dataset(300, 200), []
        before = torch.get_num_threads()
        try:
            for threads in (1, 2, 2):
                torch.set_num_threads(threads)
                results.append(self.build(dataset).embeddings())
        finally:
            torch.set_num_threads(before)
        one, two, again = results
        assert all(torch.equal(*pair) for pair in zip(two, again))
        torch.testing.assert_close(one[0] @ one[1].T, two[0] @ two[1].T, rtol=1e-4, atol=1e-5)

    def test_a_run_is_one_evaluation(self, tmp_path):
        trainer = self.trained(tmp_path, epochs=50)
        assert trainer.finished() and trainer.step.steps == 0
        (row,) = trainer.progress.history
        assert row["loss"] == 0 and row["valid"] == trainer.evaluator(*trainer.model.embeddings(), "valid")
        gone_on = self.gone_on(tmp_path)
        assert gone_on.progress.history == [row] and gone_on.result() == trainer.result()

    def test_a_search_leaves_training_alone(self):
        assert "learning_rate" not in searchable(self.model.Options.owner)


class Calls(TorchDispatchMode):
    """Counts what is called inside."""

    NOTHING = ("empty", "new_empty", "empty_like", "detach", "alias", "empty_strided", "new_empty_strided", "device")

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += not func.is_view and func.overloadpacket.__name__ not in self.NOTHING
        return func(*args, **(kwargs or {}))


def assert_same_training(one: Trainer, other: Trainer) -> None:
    """The same bits: parameters, optimiser, history, random draws."""
    for (name, ours), theirs in zip(one.model.state_dict().items(), other.model.state_dict().values()):
        assert torch.equal(ours, theirs), name
    states = [trainer.optimizer.state_dict()["state"] for trainer in (one, other)]
    assert states[0].keys() == states[1].keys()
    for number, ours in states[0].items():
        assert all(torch.equal(value, states[1][number][name]) for name, value in ours.items()), number
    assert torch.equal(one.generator.get_state(), other.generator.get_state())
    rows = [
        [
            {name: value for name, value in row.items() if not name.startswith("seconds")}
            for row in trainer.progress.history
        ]
        for trainer in (one, other)
    ]
    assert rows[0] == rows[1]


def do_at_step(trainer: Trainer, number: int, action) -> None:
    """Call ``action`` inside the step of that number, counted from 1 over all epochs."""
    loss_parts, done = trainer.model.loss_parts, []

    def counted(batch):
        done.append(1)
        if len(done) == number:
            action()
        return loss_parts(batch)

    trainer.model.loss_parts = counted


def peak_bytes(run) -> int:
    """Most memory that a call holds above what stood before it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))
