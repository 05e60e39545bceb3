"""The study of one search: its trials in an SQLite file that any number of processes share.

Optuna proposes the values and remembers the trials. What is added here is who works on what: a process holds a lock on
the folder of its trial, so that a trial whose process is gone is told from one that runs, whatever ended the process.
Such a trial is begun again from its last checkpoint.

::

    SEARCH/study.db                what Optuna knows
    SEARCH/lock                    held by the process that begins a trial
    SEARCH/trials/0007/            a trial: options.yaml, metrics.jsonl; a checkpoint and a lock while it runs
"""

from __future__ import annotations

import fcntl
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from ..errors import InputError
from ..options import difference
from ..runs.config import schema
from .space import Space, check_point, suggest

optuna.logging.set_verbosity(optuna.logging.WARNING)  # what there is to say is said here

# The pruner compares a trial at an epoch with others at that epoch; before it has so many, it cannot judge.
TRIALS_TO_COMPARE_WITH = 5
# Sections of what all trials of a study share.
DATASET, FIXED, SPACE = "dataset", "value of a fixed option", "space"
WAIT_FOR_DATABASE = 60.0  # seconds, while another process writes


@dataclass
class RunningTrial:
    """A trial of this process.

    Attributes:
        trial: Optuna's. folder: what the trial leaves on disk. lock: held as long as this process works on it.
        is_preset: whether it has the values that a run without a search would have.
        problem: why it cannot be trained at all, if so.
    """

    trial: optuna.Trial
    folder: Path
    lock: TextIO
    is_preset: bool
    problem: str | None = None


class Study:
    """Begins trials and ends them, together with the other processes that work on the same folder."""

    def __init__(
        self,
        folder: str | Path,
        space: Space,
        settings: dict[str, dict[str, Any]],
        *,
        model: str,
        preset: dict[str, Any],
        seed: int = 0,
        pruned_from: int | None = None,
    ):
        """Open the study of a folder, or make it.

        Args:
            folder: of the search.
            space: option name -> values.
            settings: what all trials of the study share, as sections of names and values that JSON knows.
            model: whose options are searched.
            preset: parameters of the first trial, as many as the space has.
            seed: of the proposals.
            pruned_from: epoch from which a trial below the median is ended; None never ends one.

        Raises:
            InputError: the folder holds a search with other settings, or cannot be used.
        """
        self.folder, self.space, self.settings, self.seed = Path(folder), space, settings, seed
        self.model = model
        pruner = optuna.pruners.NopPruner()
        if pruned_from is not None:
            few = TRIALS_TO_COMPARE_WITH
            pruner = optuna.pruners.MedianPruner(few, n_warmup_steps=pruned_from, n_min_trials=few)
        with self._usable():
            (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        with self._usable(), self._alone():
            url = sqlalchemy.URL.create("sqlite", database=str(self.folder.resolve() / "study.db"))
            storage = optuna.storages.RDBStorage(
                url.render_as_string(), engine_kwargs={"connect_args": {"timeout": WAIT_FOR_DATABASE}}
            )
            self.study = optuna.create_study(
                storage=storage, study_name="search", direction="maximize", load_if_exists=True, pruner=pruner
            )
            stored = self.study.user_attrs.get("settings")
            if stored is None:
                self.study.set_user_attr("settings", settings)
                self.study.enqueue_trial(preset, user_attrs={"preset": True})
            else:
                self._require_same(stored, settings)

    def _require_same(self, stored: dict[str, dict[str, Any]], settings: dict[str, dict[str, Any]]) -> None:
        # What neither was fixed nor searched then is an option that is younger.
        defaults = {name: entry.default for name, entry in schema(self.model).items() if name not in stored[SPACE]}
        for section, then in stored.items():
            now = settings[section]
            if section == SPACE:  # an option more or less is another space
                then, now = ({name: side.get(name) for name in {**then, **now}} for side in (then, now))
            changed = difference(then, now, defaults=defaults if section == FIXED else None)
            if changed:
                raise InputError(
                    f"{self.folder}: holds a search with another {section} ({changed[0].name}: {changed[0].then} then, "
                    f"{changed[0].now} now); go on with what it was begun with, or name another --output"
                )

    def begin(self, total: int) -> RunningTrial | None:
        """The next trial, one that was cut off before any other; None if ``total`` have ended or run.

        Raises:
            InputError: the database cannot be used.
        """
        with self._usable(), self._alone():
            self._collect_abandoned()
            counted = [trial for trial in self.trials() if trial.state != TrialState.WAITING]
            if len(counted) >= total:
                return None
            # A sampler of its own for every trial: processes draw differently, and one that was interrupted draws
            # what it would have drawn.
            seed = np.random.SeedSequence([self.seed, len(counted)]).generate_state(1)[0]
            self.study.sampler = optuna.samplers.TPESampler(seed=int(seed))
            trial = self.study.ask()
            problem = self._give_parameters(trial)
            folder = self.folder / "trials" / trial.user_attrs.get("folder", f"{trial.number:04d}")
            trial.set_user_attr("folder", folder.name)
            folder.mkdir(exist_ok=True)
            lock = _lock(folder / "lock")
            return RunningTrial(trial, folder, lock, trial.user_attrs.get("preset", False), problem)

    def _give_parameters(self, trial: optuna.Trial) -> str | None:
        """Let a trial have its parameters; what is wrong with those that it was enqueued with, if anything."""
        stored = self.study.get_trials(deepcopy=False)[trial.number]
        try:
            check_point(stored.system_attrs.get("fixed_params", {}), self.space, self.model)
            suggest(trial, self.space)
        except ValueError as error:  # Optuna's, too: a trial that cannot be begun would be in line for ever
            return " ".join(str(error).split())
        return None

    def report(self, running: RunningTrial, values: dict[int, float], record: dict[str, Any]) -> bool:
        """Tell how far a trial is; whether it should be pruned.

        The first trial never is: the search ends no worse than what it began with.

        Args:
            values: epoch -> validation metric, of epochs not told before.
            record: ``value`` and ``best_epoch`` up to now, ``epochs`` and ``seconds`` trained.
        """
        with self._usable():
            for epoch, value in values.items():
                running.trial.report(value, epoch)
            running.trial.set_user_attr("record", record)
            return not running.is_preset and running.trial.should_prune()

    def end(self, running: RunningTrial, state: TrialState, reason: str | None = None) -> None:
        """Record how a trial ended: COMPLETE, PRUNED, or FAIL for a reason."""
        # Alone, so that nobody who looks for abandoned trials finds it running and its lock gone.
        with self._usable(), self._alone():
            if reason is not None:
                running.trial.set_user_attr("reason", reason)
            value = running.trial.user_attrs["record"]["value"] if state == TrialState.COMPLETE else None
            self.study.tell(running.trial, value, state)
            _remove_checkpoints(running.folder)
        self.leave(running)

    def leave(self, running: RunningTrial) -> None:
        """Stop working on a trial that has not ended; whoever begins one next goes on with it."""
        running.lock.close()

    def trials(self) -> list[FrozenTrial]:
        """Every trial once, in the order in which they were begun: of one that was cut off, its continuation."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if not _was_cut_off(trial)]

    def best(self) -> FrozenTrial | None:
        """The trial with the highest value among those that were trained to their end, the earliest of equals."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return max(complete, key=_value, default=None)

    def collect_abandoned(self) -> None:
        """Put back in line the trials whose processes are gone."""
        with self._usable(), self._alone():
            self._collect_abandoned()

    def _collect_abandoned(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        waiting = {trial.user_attrs.get("folder") for trial in trials if trial.state == TrialState.WAITING}
        for trial in trials:
            name = trial.user_attrs.get("folder", f"{trial.number:04d}")
            folder = self.folder / "trials" / name
            if trial.state == TrialState.RUNNING and not _is_locked(folder / "lock"):
                # Already waiting, or failed for a reason: the process was killed between two steps.
                if name not in waiting and "reason" not in trial.user_attrs:
                    parameters = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                    preset = trial.user_attrs.get("preset", False)
                    self.study.enqueue_trial(parameters, user_attrs={"folder": name, "preset": preset})
                self.study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state.is_finished() and not _was_cut_off(trial):
                _remove_checkpoints(folder)  # the process was killed before it could

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = _lock(self.folder / "lock")
        try:
            yield
        finally:
            lock.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
            cause = error.__cause__ or error
            reason = getattr(cause, "orig", None) or getattr(cause, "strerror", None) or cause
            raise InputError(
                f"{self.folder}: its study.db cannot be used ({reason}); free space, bring back the file, "
                "or name another --output"
            ) from None


def _value(trial: FrozenTrial) -> float:
    """Of a complete trial, which has one."""
    assert trial.value is not None
    return trial.value


def _was_cut_off(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def _lock(path: Path) -> TextIO:
    """Wait for a lock that ends when the file is closed, at the latest with the process."""
    file = open(path, "a", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _is_locked(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "lock").unlink(missing_ok=True)
