"""Epochs, early stopping and checkpoints for any model that keeps the promise of :mod:`mde_fast.models.model`."""

from __future__ import annotations

import logging
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..data.dataset import InteractionDataset
from ..errors import InputError
from ..files import VERSION_KEY, Checkpoints, without_prefix
from ..kernels import NegativeTable, random_bits
from ..kernels.dispatch import implementation_in_full, use_reference, winners
from ..models import Model
from ..options import described, difference
from ..ranking.evaluator import Evaluator
from ..ranking.options import EvaluationOptions
from ..report.console import progress_bar
from ..world import ALONE, COLUMNS, Part, World, part_of
from .adam import make_optimizer
from .options import TrainingOptions
from .progress import Progress, duration, is_over, needed, time_left
from .step import CapturedStep, TrainingStep

logger = logging.getLogger("mde_fast")

SAY_COST_AFTER, LONG_EPOCH = 5.0, 30.0  # seconds


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line for the person who runs it."""


class Trainer:
    """Trains with Adam on BPR triples and keeps the best epoch by validation.

    Triples of an epoch: all train interactions in a random order, one uniform negative each, in batches, the last one
    short. The same seed gives the same bits on the same device, with the same versions and number of CPU threads; a
    resumed run is the run that was never stopped.

    Several processes go through the same steps, each with its part of the model; the first one writes for all.

    Attributes:
        progress: where it stands. interrupted: a signal asked for a stop. out_of_time: ``minutes`` are over.
    """

    def __init__(
        self,
        model: Model,
        dataset: InteractionDataset,
        checkpoints: Checkpoints,
        *,
        training: TrainingOptions,
        evaluation: EvaluationOptions,
        kept: dict[str, Any],
        keep_best: bool = True,
        world: World = ALONE,
    ):
        """
        Args:
            model: on the device that trains it.
            dataset: its train and validation interactions are used.
            checkpoints: where the training is saved; metrics.jsonl is written beside them.
            training, evaluation: the rooms' options.
            kept: options that a checkpoint names, so that it is known when they have been edited since.
            keep_best: save the parameters and embeddings of the best epoch.
            world: the processes that train the model.
        """
        self.world = world
        self.model, self.checkpoints, self.kept, self.keep_best = model, checkpoints, kept, keep_best
        self.training, self.evaluation = needed(training, model.learns), evaluation
        self.device = model.device
        # The reference looks at values on the CPU, which a graph cannot hold.
        captured = (
            model.learns
            and self.device.type == "cuda"
            and training.cuda_graph
            and world.size == 1  # which rows of a batch a process has is not known beforehand
            and not use_reference(self.device)
        )
        self.optimizer = make_optimizer(model, training, capturable=captured)
        self.evaluator = Evaluator(dataset, evaluation.cutoffs, self.device, world)
        self.generator = torch.Generator(self.device).manual_seed(training.seed)
        self.users = torch.from_numpy(dataset.train.users).to(self.device)
        self.items = torch.from_numpy(dataset.train.items).to(self.device)
        negatives = NegativeTable.build(self.users, self.items, dataset.num_users, dataset.num_items)
        self.progress = Progress()
        make_step = CapturedStep if captured else TrainingStep
        self.step = make_step(model, self.optimizer, negatives, len(self.users), training.train_batch_size)
        self.asked_to_stop = self.interrupted = self.out_of_time = self.cost_said = False

    def fit(self, after_epoch: Callable[[Progress], None] | None = None) -> None:
        """Train until the validation metric has not improved for ``stopping_step`` epochs, or ``epochs`` are over.

        Ctrl-C (or SIGTERM) ends after the current step with everything saved; ``interrupted`` is then True. When
        ``minutes`` are over it ends after an epoch; ``out_of_time`` is then True.

        Args:
            after_epoch: called when an epoch is recorded and saved; what it raises ends the training.

        Raises:
            TrainingError: a loss is not finite.
        """
        progress, started = self.progress, time.monotonic()
        with self._stop_on_signal():
            while not (self.finished() or self.out_of_time):
                seconds = self._train_epoch()
                if self.interrupted:
                    self._save_last()
                    return
                self._close_epoch(seconds)
                if progress.best_epoch == progress.epoch and self.keep_best:
                    self._save_best()
                self._save_last()
                self.checkpoints.owner.append_line("metrics.jsonl", progress.history[-1])
                if after_epoch is not None:
                    after_epoch(progress)
                self.out_of_time = self._is_out_of_time(time.monotonic() - started)
            self.interrupted = self.world.any(
                self.asked_to_stop
            )  # in the last evaluation: for whoever goes on after it
        if self.finished() and progress.epoch < self.training.epochs:
            logger.info("no improvement for %d epochs: stopped early", self.training.stopping_step)

    def _is_out_of_time(self, seconds: float) -> bool:
        """Whether stopping now is closer to the limit than stopping after another epoch."""
        minutes = self.training.minutes
        if minutes is None:
            return False
        over = seconds + self.progress.seconds_per_epoch() / 2 > 60 * minutes
        return self.world.any(over and self.world.is_first)  # by one clock

    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return is_over(self.training, self.progress.epoch, self.progress.best_epoch)

    def _train_epoch(self) -> float:
        """Train what is left of the current epoch; seconds it took."""
        started = time.perf_counter()
        epoch_start = self.generator.get_state()
        get_ready = self.model.resume_epoch if self.progress.step else self.model.begin_epoch
        if get_ready(self.generator):
            self.step.record_anew()
        order = torch.randperm(len(self.users), generator=self.generator, device=self.device)
        users = self.users[order]
        self.step.begin_epoch(users, self.items[order], random_bits(users, self.generator))
        first = self.progress.step
        bar = progress_bar(
            range(first, self.step.steps),
            desc=f"epoch {self.progress.epoch + 1}",
            initial=first,
            total=self.step.steps,
            unit="step",
            leave=False,
            shown=self.world.is_first,
        )
        for step in bar:
            self.step(step)
            self.progress.step = step + 1
            if self.device.type == "cpu":  # elsewhere looking at a loss, or at the clock, would make the device wait
                self._check_finite()
                self._say_cost(step + 1 - first, time.perf_counter() - started)
                bar.set_postfix(loss=f"{float(self.step.parts[step].sum()):.4f}", refresh=False)
            self.interrupted = self.world.any(self.asked_to_stop)  # after the same step everywhere
            if self.interrupted:
                bar.close()
                self.generator.set_state(epoch_start)  # the epoch's draws are made again when it goes on
                break
        self._check_finite()
        return time.perf_counter() - started

    def _say_cost(self, steps: int, seconds: float) -> None:
        """What an epoch takes, once, where it takes longer than one likes to wait for its line."""
        if self.cost_said or steps < 2 or seconds < SAY_COST_AFTER:
            return
        self.cost_said, epoch = True, seconds / steps * self.step.steps
        if epoch > LONG_EPOCH:
            what = duration(epoch), self.step.steps, seconds / steps
            logger.info("an epoch takes about %s: %d steps of %.2g s, each over all graphs", *what)

    def _check_finite(self) -> None:
        """Look for the first step of this epoch with a loss that is not a number."""
        bad = torch.nonzero(~torch.isfinite(self.step.parts[: self.progress.step])).tolist()
        if bad:
            step, part = bad[0]
            raise self._not_finite(
                step + 1, f"loss part '{self.model.part_names[part]}' is {float(self.step.parts[step, part])}"
            )

    def _not_finite(self, step: int, what: str) -> TrainingError:
        return TrainingError(f"epoch {self.progress.epoch + 1}, step {step}: {what}")

    def _close_epoch(self, seconds: float) -> None:
        """Evaluate, and record the epoch."""
        progress, metric = self.progress, self.evaluation.metric
        started = time.perf_counter()
        users, items = self.model.embeddings()
        self.vectors = users.float(), items.float()
        finite = all(bool(torch.isfinite(vectors).all()) for vectors in self.vectors)
        if not self.world.all(finite):  # an update went wrong after its loss
            raise self._not_finite(progress.step, "the embeddings are not finite")
        progress.epoch, progress.step = progress.epoch + 1, 0
        valid = self.evaluator(*self.vectors, "valid")
        evaluation_seconds = time.perf_counter() - started
        parts = self.step.parts.double().mean(dim=0).tolist()
        value = round(valid[metric], 4)  # MMRec compares rounded values
        if value > progress.best_value:
            progress.best_epoch, progress.best_value = progress.epoch, value
        progress.history.append(
            {
                VERSION_KEY: __version__,
                "epoch": progress.epoch,
                "loss": sum(parts),
                "loss_parts": dict(zip(self.model.part_names, parts)),
                "valid": valid,
                "best": progress.best_epoch == progress.epoch,
                "seconds": seconds,
                "seconds_evaluation": evaluation_seconds,
            }
        )
        logger.info(
            "epoch %3d  loss %.4f  valid %s %.4f%s  %.1f s + %.1f s evaluation, %s",
            progress.epoch,
            sum(parts),
            metric,
            valid[metric],
            " *" if progress.best_epoch == progress.epoch else "  ",
            seconds,
            evaluation_seconds,
            time_left(self.training, progress),
        )

    def result(self) -> dict[str, Any]:
        """Validation and test metrics of the best epoch, and the times; reads the best checkpoint."""
        progress = self.progress
        _, tensors = self.checkpoints.load("best", self._part)
        test = self.evaluator(tensors["user_embeddings"], tensors["item_embeddings"], "test")
        history = progress.history
        return {
            "epochs_run": progress.epoch,
            "best_epoch": progress.best_epoch,
            "seconds_per_epoch": statistics.median(row["seconds"] for row in history),
            "seconds_per_evaluation": statistics.median(row["seconds_evaluation"] for row in history),
            "valid": history[progress.best_epoch - 1]["valid"],
            "test": test,
        }

    def _save_best(self) -> None:
        user_vectors, item_vectors = self.vectors
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {"user_embeddings": user_vectors, "item_embeddings": item_vectors}
        row = self.progress.history[-1]
        state = {"epoch": row["epoch"], "valid": row["valid"], "options": self.kept}
        self.checkpoints.save("best", state, tensors, self._part)

    def _save_last(self) -> None:
        progress = self.progress
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        tensors |= {"generator": self.generator.get_state(), "step_parts": self.step.parts}
        state = {**vars(progress), "options": self.kept, "made_on": self._made_on()}
        self.checkpoints.save("last", state, tensors, self._part)

    def _part(self, name: str) -> Part | None:
        """Which part of a checkpoint's tensor this process has: of parameters, what Adam keeps of them, embeddings."""
        if name in ("user_embeddings", "item_embeddings"):
            return COLUMNS
        kind, _, rest = name.partition(".")
        if kind == "model":
            parameter = dict(self.model.named_parameters()).get(rest)
        elif kind == "optimizer":
            parameter = self.optimizer.param_groups[0]["params"][int(rest.partition(".")[0])]
        else:
            parameter = None
        return None if parameter is None else part_of(parameter)

    def restore(self) -> None:
        """Continue from the last checkpoint, which is one of a training with these options."""
        folder = self.checkpoints.owner
        if not self.checkpoints.has("last"):
            logger.info("%s: no checkpoint yet, starting from the beginning", folder.path)
            folder.write_lines("metrics.jsonl", [])
            return
        state, tensors = self.checkpoints.load("last", self._part)
        self.progress = Progress(**{name: state[name] for name in vars(self.progress)})
        logger.info("%s: %d epochs and %d steps are done", folder.path, self.progress.epoch, self.progress.step)
        then, now = state.get("made_on", {}), self._made_on()
        changed = difference(then, now, without=("measured",))
        changed += difference(then.get("measured", {}), now["measured"])  # of what both machines were asked
        if changed:
            logger.warning("not the same bits from here on as without a stop: %s", described(changed))
        self.model.load_state_dict(without_prefix(tensors, "model."))
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {}
        for name, tensor in without_prefix(tensors, "optimizer.").items():
            index, _, entry = name.partition(".")
            optimizer["state"].setdefault(int(index), {})[entry] = tensor
        self.optimizer.load_state_dict(optimizer)
        if tensors["generator"].shape == self.generator.get_state().shape:
            self.generator.set_state(tensors["generator"])
        else:
            logger.warning("another kind of device than before: the run goes on with other random draws")
            self.generator.manual_seed(self.training.seed + self.progress.epoch)
        self.step.parts.copy_(tensors["step_parts"])
        folder.write_lines("metrics.jsonl", self.progress.history)

    def _made_on(self) -> dict[str, Any]:
        """What decides the bits beside the options."""
        on_cpu = self.device.type == "cpu"
        return {
            "device": "cpu" if on_cpu else torch.cuda.get_device_name(self.device),
            "CPU threads": torch.get_num_threads(),
            "processes": self.world.size,
            "torch": torch.__version__,
            "operators": implementation_in_full(self.device),
            "measured": winners(self.device),
        }

    @contextmanager
    def _stop_on_signal(self):
        """The first Ctrl-C or SIGTERM asks for a stop after the step; a second one is not held back.

        Unless there are several processes: torchrun kills those that take more than 30 seconds.
        """

        def ask(number, frame):
            if self.asked_to_stop and self.world.size == 1:
                raise KeyboardInterrupt
            self.asked_to_stop = True

        signals = (signal.SIGINT, signal.SIGTERM)
        try:
            previous = [signal.signal(number, ask) for number in signals]
        except ValueError:  # not the main thread: signals are the caller's business
            yield
            return
        try:
            yield
        finally:
            for number, handler in zip(signals, previous):
                signal.signal(number, handler)


def require_negatives(dataset: InteractionDataset) -> None:
    """Refuse a user who leaves no item of the training set alone: there is no negative to draw.

    Raises:
        InputError: naming the user by the id that the user's files have.
    """
    counts = np.diff(dataset.train_matrix.indptr)
    candidates = len(np.unique(dataset.train.items))
    full = np.flatnonzero(counts >= candidates)
    if len(full):
        raise InputError(
            f"{dataset.name}: user {dataset.user_ids[full[0]]} has trained on all {candidates} items, so there is no "
            "negative to learn from; drop that user or hold out some of their items"
        )
