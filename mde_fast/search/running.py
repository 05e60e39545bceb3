"""A search from its options to its report: trials one after the other, or in several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState
from tqdm import tqdm

from ..data.dataset import InteractionDataset
from ..data.reading import first_line
from ..errors import InputError
from ..graphs.cache import GraphsInMemory
from ..options import plain
from ..ranking.catalogue import feature_hashes
from ..report.console import progress_bar
from ..runs.assemble import graph_folder, make_dataset, make_device, make_model, without_slow_precision
from ..runs.config import Config, with_options
from ..runs.jobs import Command, Ended, run_side_by_side, threads_each
from ..runs.life import describe as describe_dataset
from ..training.memory import is_out_of_memory
from ..training.trainer import TrainingError, require_negatives
from .space import Space, describe, point_of, to_options
from .study import DATASET, FIXED, SPACE, RunningTrial, Study
from .trial import TimeIsUp, train_trial

logger = logging.getLogger("mde_fast.search")

# Where things are and what computes them may change while a search goes on.
FREE_TO_CHANGE = ("dataset", "data_dir", "cache_dir", "device", "minutes", "slow_precision")


@dataclass
class Search:
    """What every process of a search needs.

    Attributes:
        config: the options that all trials share, and the values of the first trial for those that are searched.
        study: the trials, and what they share.
        dataset: without its test interactions, so that nothing can be selected on them.
        device: on which trials are trained.
        cache: finished graphs, in memory.
    """

    config: Config
    study: Study
    dataset: InteractionDataset
    device: torch.device
    cache: GraphsInMemory

    @classmethod
    def open(
        cls, config: Config, space: Space, output: str | Path, *, seed: int = 0, prune: bool = True, quiet: bool = False
    ) -> Search:
        """Read the dataset, and open the study of a folder or make it.

        Args:
            config: all options.
            space: option name -> values to search.
            output: folder of the search.
            seed: of the sampler.
            prune: end trials that fall behind, from the epoch on at which a run may stop early.
            quiet: leave out the lines about the dataset.

        Raises:
            InputError: anything the user gave that cannot be used.
        """
        device = make_device(config.training)
        config = without_slow_precision(config)
        dataset = make_dataset(config)
        if not quiet:
            describe_dataset(dataset)
        require_negatives(dataset)
        cache = GraphsInMemory(graph_folder(config.data))
        # What cannot be trained on is refused before there is a study, and the first trials find their graphs.
        make_model(config, dataset, torch.device("cpu"), cache=cache)
        shared = {
            name: plain(value)
            for name, value in config.values().items()
            if name not in space and name not in FREE_TO_CHANGE
        }
        settings = {
            DATASET: {
                "name": dataset.name,
                "data": dataset.data,
                "interactions": dataset.fingerprint,
                "features": feature_hashes(dataset),
            },
            FIXED: shared,
            SPACE: {name: describe(values) for name, values in space.items()},
        }
        study = Study(
            output,
            space,
            settings,
            model=config.model,
            preset=point_of(config, space),
            seed=seed,
            pruned_from=config.training.stopping_step if prune else None,
        )
        return cls(config, study, dataset.without_test(), device, cache)

    def work(self, total: int, time_is_up: Callable[[], bool]) -> bool:
        """Train trials until there are ``total``, with those of other processes, or the time is up.

        Returns:
            False if it was interrupted.

        Raises:
            InputError: the trials cannot be trained or recorded.
        """
        with self.bar(total) as bar:
            while not time_is_up() and (running := self.study.begin(total)) is not None:
                try:
                    interrupted = self._train(running, time_is_up)
                finally:
                    self.study.leave(running)
                self.refresh(bar)
                if interrupted:
                    return False
        return True

    def _train(self, running: RunningTrial, time_is_up: Callable[[], bool]) -> bool:
        """Train one trial and record how it ended; whether the person at the keyboard wants to stop."""
        study, parameters = self.study, running.trial.params
        if running.problem is not None:
            study.end(running, TrialState.FAIL, running.problem)
            self._log_end(running)
            return False
        values = ", ".join(f"{name} {show(value)}" for name, value in parameters.items())
        logger.info("trial %s: %s", running.trial.number, values)
        config = with_options(self.config, **to_options(parameters, self.config.model))
        try:
            trainer = train_trial(
                study, running, config, self.dataset, self.device, cache=self.cache, time_is_up=time_is_up
            )
        except optuna.TrialPruned:
            study.end(running, TrialState.PRUNED)
        except TrainingError as error:
            study.end(running, TrialState.FAIL, " ".join(str(error).split()))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            study.end(running, TrialState.FAIL, f"out of memory ({first_line(error)})")
        except TimeIsUp:
            logger.info("trial %s: the time is up; the same command goes on with it", running.trial.number)
            return False
        else:
            if not trainer.finished():
                logger.info("trial %s: interrupted; the same command goes on with it", running.trial.number)
                return True
            study.end(running, TrialState.COMPLETE)
            self._log_end(running)
            return trainer.interrupted
        self._log_end(running)
        return False

    def _log_end(self, running: RunningTrial) -> None:
        metric = self.config.evaluation.metric
        trial = next(trial for trial in self.study.trials() if trial.number == running.trial.number)
        record, best = trial.user_attrs.get("record"), self.study.best()
        parts = []
        if trial.state == TrialState.FAIL:
            parts.append(f"failed: {trial.user_attrs['reason']}")
        if record is not None:
            pruned = "pruned, " if trial.state == TrialState.PRUNED else ""
            where = f"at epoch {record['best_epoch']} of {record['epochs']}, {record['seconds']:.0f} s"
            parts.append(f"{pruned}{metric} {record['value']:.4f} {where}")
        if best is not None:
            parts.append(f"best is trial {best.number} with {best.value:.4f}")
        logger.info("trial %s: %s", running.trial.number, "; ".join(parts))

    def work_in_processes(self, jobs: int, arguments: list[str], total: int) -> bool:
        """The same in several processes, each the command of this one.

        Args:
            jobs: how many.
            arguments: of this command.

        Returns:
            False if it was interrupted.

        Raises:
            InputError: a process failed; the others went on to the end.
        """
        threads = threads_each(jobs)
        logger.info("%d processes of %d thread%s", jobs, threads, "s" if threads > 1 else "")
        del self.dataset, self.cache  # each has its own
        flags = [*arguments, "--jobs", "1", "--worker"]
        failed = []

        def on_end(ended: Ended) -> None:
            if ended.failure is not None:
                failed.append(ended)

        with self.bar(total) as bar:
            done = run_side_by_side(
                [Command(str(number), "search", flags) for number in range(1, jobs + 1)],
                jobs,
                on_end=on_end,
                on_poll=lambda names: self.refresh(bar),
                on_line=lambda name, line: logger.info("[%s] %s", name, line),
            )
        if failed:
            one = min(failed, key=lambda ended: int(ended.name))
            raise InputError(
                f"{len(failed)} of {jobs} processes failed; process {one.name} (status {one.status}) "
                f"said last: {one.failure}"
            )
        return done

    def bar(self, total: int) -> tqdm:
        bar = progress_bar(total=total, desc="trials", unit="trial")
        self.refresh(bar)
        return bar

    def refresh(self, bar: tqdm) -> None:
        if bar.disable:
            return
        bar.n = sum(trial.state.is_finished() for trial in self.study.trials())
        best = self.study.best()
        bar.set_postfix_str(f"best {best.value:.4f}" if best is not None else "")


def show(value: Any) -> str:
    """A parameter as people write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
