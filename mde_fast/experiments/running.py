"""Trains what is planned, one run after the other in this process or several side by side in processes of their own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import InputError
from ..runs.life import resume_run, start_run
from ..runs.run import RunFolder
from .plan import PlannedRun

logger = logging.getLogger("mde_fast")

POLL_SECONDS = 0.5


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
        if run.result() is not None and run.result()["epochs_run"] < run.config.training.epochs:
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


class _Child:
    """A run in a process of its own; what it prints is in its log.txt."""

    def __init__(self, run: PlannedRun, options_file: Path, threads: int, lock: int | None):
        self.run = run
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        if run.begun:
            flags = ["--resume", str(run.path)]
            for name, value in run.changes().items():
                flags += [f"--{name.replace('_', '-')}", str(value)]
        else:
            options_file.write_text(run.config.to_yaml(), encoding="utf-8")
            flags = ["--config", str(options_file), "--output", str(run.path)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mde_fast.train", *flags],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,  # Ctrl-C reaches it through this process alone, once
            pass_fds=() if lock is None else (lock,),
        )

    def failure(self) -> str | None:
        """The last line of what it printed as an error, unless it finished or was interrupted."""
        if self.process.returncode in (0, 130):
            return None
        self.errors.seek(0)
        lines = [line for line in self.errors.read().splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ") if lines else f"ended with status {self.process.returncode}"


def _train_side_by_side(runs: Sequence[PlannedRun], jobs: int, lock: int | None) -> Training:
    training, children, waiting = Training(), [], list(runs)
    threads = max(1, torch.get_num_threads() // jobs)  # not of the jobs left: a run resumed keeps its number, and bits
    jobs = min(jobs, len(runs))
    logger.info("%d processes side by side, %d CPU thread%s each", jobs, threads, "s" if threads > 1 else "")

    def ask_to_stop(number, frame):
        training.interrupted = True
        for child in children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGINT)

    with tempfile.TemporaryDirectory() as folder, _on_signal(ask_to_stop):
        bar = tqdm(total=len(runs), desc="runs", unit="run", disable=None)
        try:
            while children or (waiting and not training.interrupted):
                while waiting and len(children) < jobs and not training.interrupted:
                    run = waiting.pop(0)
                    logger.info("%s: %s", run.name, "goes on" if run.begun else "begins")
                    children.append(_Child(run, Path(folder, f"{run.name}.yaml"), threads, lock))
                    if training.interrupted:  # while it was started, so that it was not asked
                        children[-1].process.send_signal(signal.SIGINT)
                time.sleep(POLL_SECONDS)
                for child in [child for child in children if child.process.poll() is not None]:
                    children.remove(child)
                    _close(child, training)
                    bar.update()
                bar.set_postfix_str(", ".join(f"{child.run.name} {_epochs(child.run)}" for child in children))
        finally:
            for child in children:  # after an error here: none trains on without anybody to hear of it
                child.process.send_signal(signal.SIGINT)
                child.process.wait()
        bar.close()
    return training


def _close(child: _Child, training: Training) -> None:
    failure, result = child.failure(), child.run.result()
    if result is not None:
        logger.info("%s: finished, best epoch %d", child.run.name, result["best_epoch"])
    elif failure is not None and not training.interrupted:
        training.failures[child.run.name] = failure
        logger.error("%s failed: %s", child.run.name, failure)
    else:  # stopped by us, or by somebody who ended that process alone
        training.interrupted = True
        logger.info("%s: interrupted, it goes on with the same command", child.run.name)
    child.errors.close()


def _epochs(run: PlannedRun) -> str:
    """How far a run is, from the lines that it appends."""
    try:
        return f"epoch {1 + len((run.path / 'metrics.jsonl').read_bytes().splitlines())}"
    except OSError:  # not there yet; what keeps it from coming is for the run itself to say
        return "starts"


@contextmanager
def _on_signal(handler) -> Iterator[None]:
    """SIGINT and SIGTERM go to ``handler`` meanwhile."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
