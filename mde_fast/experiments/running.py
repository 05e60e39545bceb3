"""Trains what is planned, one run after the other in this process or several side by side in processes of their own."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..report.console import progress_bar
from ..runs.jobs import Command, Ended, run_side_by_side, threads_each
from ..runs.life import resume_run, start_run
from ..runs.run import RunFolder
from .plan import PlannedRun

logger = logging.getLogger("mde_fast")


@dataclass
class Training:
    """What came of a plan: ``failures`` (run name -> the line that says why), ``interrupted`` (a signal stopped it)."""

    failures: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


def train(runs: Sequence[PlannedRun], jobs: int, lock: int | None) -> Training:
    """Bring every run to its end: skip those that are, go on with those that were begun.

    A run that fails does not keep the others from theirs. After Ctrl-C or SIGTERM everything is saved.

    Args:
        runs: what is to be trained.
        jobs: how many processes side by side; with 1, this one.
        lock: what :func:`mde_fast.files.lock.exclusive` gave; processes that outlive this one hold on to it.
    """
    waiting = [run for run in runs if run.result() is None]
    logger.info("%d runs: %d finished already, %d to train", len(runs), len(runs) - len(waiting), len(waiting))
    training = _train_here(waiting) if jobs == 1 or not waiting else _train_side_by_side(waiting, jobs, lock)
    for run in runs:
        result = run.result()
        if result is not None and result["epochs_run"] < run.config.training.epochs:
            RunFolder(run.path).checkpoints.drop("last")  # stopped early: nothing can ever go on from it
    return training


def _train_here(runs: Sequence[PlannedRun]) -> Training:
    training = Training()
    try:
        for number, run in enumerate(runs, 1):
            logger.info("\nrun %d of %d: %s", number, len(runs), run.name)
            try:
                result = resume_run(run.path, run.changes()) if run.begun else start_run(run.config, run.path)
            except (InputError, RuntimeError) as error:  # RuntimeError: a loss that is not finite, or no memory left
                training.failures[run.name] = " ".join(str(error).split())
                logger.error("%s failed: %s", run.name, training.failures[run.name])
                continue
            if result["status"] == "interrupted":
                training.interrupted = True
                break
    except KeyboardInterrupt:  # between two runs, or while one was read in
        training.interrupted = True
    return training


def _train_side_by_side(runs: Sequence[PlannedRun], jobs: int, lock: int | None) -> Training:
    training, planned = Training(), {run.name: run for run in runs}
    # Of the jobs that were asked for, not of those left to do: a run that goes on keeps its number, and its bits.
    threads = threads_each(jobs)
    at_a_time = min(jobs, len(runs))
    logger.info("%d processes side by side, %d CPU thread%s each", at_a_time, threads, "s" if threads > 1 else "")
    with tempfile.TemporaryDirectory() as folder, progress_bar(total=len(runs), desc="runs", unit="run") as bar:

        def on_end(ended: Ended) -> None:
            _close(planned[ended.name], ended, training)
            bar.update()

        def on_poll(names: list[str]) -> None:
            bar.set_postfix_str(", ".join(f"{name} {_epochs(planned[name])}" for name in names))

        commands = _commands(runs, Path(folder), training)
        if not run_side_by_side(commands, jobs, on_end=on_end, on_poll=on_poll, lock=lock):
            training.interrupted = True
    return training


def _commands(runs: Sequence[PlannedRun], folder: Path, training: Training) -> Iterator[Command]:
    """The commands that train runs, or go on with them; what they print is in each run's log.txt.

    Args:
        folder: for files of options.
        training: once it was interrupted, be it by somebody who ended a single process, nothing else is begun.
    """
    for run in runs:
        if training.interrupted:
            return
        logger.info("%s: %s", run.name, "goes on" if run.begun else "begins")
        yield Command(run.name, "train", _flags(run, folder))


def _flags(run: PlannedRun, folder: Path) -> list[str]:
    if not run.begun:
        options = folder / f"{run.name}.yaml"
        options.write_text(run.config.to_yaml(), encoding="utf-8")
        return ["--config", str(options), "--output", str(run.path)]
    flags = ["--resume", str(run.path)]
    for name, value in run.changes().items():
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags


def _close(run: PlannedRun, ended: Ended, training: Training) -> None:
    result = run.result()
    if result is not None:
        logger.info("%s: finished, best epoch %d", run.name, result["best_epoch"])
    elif ended.failure is not None and not ended.interrupted:
        training.failures[run.name] = ended.failure
        logger.error("%s failed: %s", run.name, ended.failure)
    else:  # stopped by us, or by somebody who ended that process alone
        training.interrupted = True
        logger.info("%s: interrupted, it goes on with the same command", run.name)


def _epochs(run: PlannedRun) -> str:
    """How far a run is, from the lines that it appends."""
    try:
        return f"epoch {1 + len((run.path / 'metrics.jsonl').read_bytes().splitlines())}"
    except OSError:  # not there yet; what keeps it from coming is for the run itself to say
        return "starts"
