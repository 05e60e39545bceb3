"""One trial: a training of which the validation metric is kept, and nothing else that is large."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import torch

from ..data.dataset import InteractionDataset
from ..errors import InputError
from ..files import Checkpoints, Folder
from ..graphs.cache import GraphCache
from ..runs.assemble import make_model
from ..runs.config import Config, fixed_options
from ..training.progress import Progress
from ..training.trainer import Trainer, TrainingError
from .study import RunningTrial, Study


class TimeIsUp(Exception):
    """The search has had its time; the trial is saved."""


def train_trial(
    study: Study,
    running: RunningTrial,
    config: Config,
    dataset: InteractionDataset,
    device: torch.device,
    *,
    cache: GraphCache,
    time_is_up: Callable[[], bool],
) -> Trainer:
    """Train with the options of a trial, or go on with it, and report every epoch to the study.

    Args:
        dataset: without test interactions.
        time_is_up: asked after every epoch.

    Returns:
        The trainer; its ``finished()`` is false if it was interrupted.

    Raises:
        optuna.TrialPruned: other trials were better at that epoch.
        TimeIsUp: as ``time_is_up`` said.
        mde_fast.training.trainer.TrainingError: a loss is not finite, or the dataset has no model with these options.

    Errors for which :func:`mde_fast.training.memory.is_out_of_memory` is true come through.
    """
    metric = config.evaluation.metric
    files = Folder(running.folder)
    checkpoints = Checkpoints(files)
    checkpoints.make("the trial's folder")
    files.write_text("options.yaml", config.to_yaml())
    with _warnings_only():
        try:
            model = make_model(config, dataset, device, cache=cache)
        except InputError as error:  # the search has made a model of this dataset: it is this trial's options
            raise TrainingError(str(error)) from None
        trainer = Trainer(
            model,
            dataset,
            checkpoints,
            training=config.training,
            evaluation=config.evaluation,
            kept=fixed_options(config),
            keep_best=False,  # a training with the trial's options brings its parameters back
        )
        if checkpoints.has("last"):
            files.remove_leftovers()
            checkpoints.remove_leftovers()
            trainer.restore()
            if trainer.progress.history:  # else it was cut off in its first epoch
                study.report(running, _values(trainer.progress.history, metric), _record(trainer.progress, metric))

        def after_epoch(progress: Progress) -> None:
            below = study.report(running, _values(progress.history[-1:], metric), _record(progress, metric))
            if trainer.finished():
                return
            if below:
                raise optuna.TrialPruned
            if time_is_up():
                raise TimeIsUp

        trainer.fit(after_epoch)
    return trainer


def _values(rows: list[dict[str, Any]], metric: str) -> dict[int, float]:
    return {row["epoch"]: row["valid"][metric] for row in rows}


def _record(progress: Progress, metric: str) -> dict[str, Any]:
    history = progress.history
    return {
        "value": history[progress.best_epoch - 1]["valid"][metric],
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "seconds": sum(row["seconds"] + row["seconds_evaluation"] for row in history),
    }


@contextmanager
def _warnings_only() -> Iterator[None]:
    """A trial's lines about itself are in its metrics.jsonl; of the console it has the progress bar."""
    logger = logging.getLogger("mde_fast")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
