"""Which runs the experiments need, and how far each is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models import DEFAULT_MODEL, find_model
from ..options import shown
from ..runs.assemble import without_slow_precision
from ..runs.config import RESUMABLE_CHANGES, Config, changed_options, is_older, schema, with_options
from ..runs.run import RunFolder
from ..training.progress import is_over, needed
from .rows import EXPERIMENTS, REFERENCE, Layers, flag_of, row_config

RESULT_ENTRIES = ("status", "epochs_run", "best_epoch")  # of metrics.json, that decide what is left to do


@dataclass(frozen=True)
class PlannedRun:
    """A row trained with a seed: its folder and all its options."""

    row: str
    seed: int
    path: Path
    config: Config

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def begun(self) -> bool:
        return (self.path / "config.yaml").is_file()

    def result(self) -> dict[str, Any] | None:
        """What metrics.json holds if there is nothing left to train, else None."""
        result = self._metrics()
        if result is None:
            return None
        training = needed(self.config.training, find_model(self.config.model).learns)
        return result if is_over(training, result["epochs_run"], result["best_epoch"]) else None

    def epochs_done(self) -> int:
        """Epochs that an unfinished run has behind it."""
        run = RunFolder(self.path)
        return run.checkpoints.state("last")["epoch"] if run.checkpoints.has("last") else 0

    def changes(self) -> dict[str, Any]:
        """Options that a run that was begun goes on with, other than it was begun with."""
        stored, asked = RunFolder.open(self.path).config().values(), self.config.values()
        return {name: asked[name] for name in RESUMABLE_CHANGES if asked[name] not in (None, stored[name])}

    def check(self) -> None:
        """Refuse a folder that was made with other options than are asked for now.

        Raises:
            InputError: naming the options, or more epochs done than asked for.
        """
        if not self.begun:
            return
        stored = RunFolder.open(self.path).config()
        differing = changed_options(stored.values(), self.config.values(), without=RESUMABLE_CHANGES)
        if differing:
            made = ", ".join(f"{change.name} {change.then} (now {change.now})" for change in differing)
            options, then = schema(self.config.model), stored.values()
            names = [change.name for change in differing]
            flags = " ".join(f"{flag_of(options[name], self.row)} {shown(then[name])}" for name in names)
            raise InputError(
                f"{self.path}: made with {made}; go on with {flags}, give another --output, or remove that folder to "
                "train it again"
            )
        result = self._metrics()
        if result is not None and result["epochs_run"] > self.config.training.epochs:
            raise InputError(
                f"{self.path}: has {result['epochs_run']} epochs, more than --epochs {self.config.training.epochs}; "
                "ask for as many or more, or give another --output"
            )

    def _metrics(self) -> dict[str, Any] | None:
        run = RunFolder(self.path)
        return run.load_json("metrics.json", RESULT_ENTRIES) if run.has("metrics.json") else None


def plan_runs(experiments: Iterable[str], layers: Layers, seeds: Sequence[int], output: Path) -> list[PlannedRun]:
    """Every run that the experiments need, each once, all rows of a seed before the next seed.

    So a command that is stopped early leaves whole comparisons behind, of fewer seeds.

    Raises:
        InputError: a folder holds a run with other options.
    """
    rows = list(dict.fromkeys(row for name in experiments for row in EXPERIMENTS[name].rows))
    rows.sort(key=lambda row: row != REFERENCE)  # the one that all others are compared with comes first
    runs = [
        PlannedRun(row, seed, output / "runs" / f"{row}-seed{seed}", row_config(layers, row, seed))
        for seed in seeds
        for row in rows
    ]
    runs = [_as_it_was_begun(run, layers) for run in runs]
    runs = [run if run.begun else replace(run, config=without_slow_precision(run.config)) for run in runs]
    for run in runs:
        run.check()
    return runs


def _as_it_was_begun(run: PlannedRun, layers: Layers) -> PlannedRun:
    """A run that 0.1.0 began goes on as it was: what nobody asks for now stays, where another default came with 0.2.0.

    And there the preset of another model than MDE won over flags. Flags of the row did not exist, so that what they ask
    for now is to be what it was begun with.
    """
    if not run.begun or not is_older(run.path / "config.yaml", "0.2.0"):
        return run
    stored = RunFolder.open(run.path).config().values()
    of_row, model = layers.of_row.get(run.row, {}), run.config.model
    names = [name for name, entry in schema(model).items() if entry.before is not None and name not in layers.given]
    names += [] if model == DEFAULT_MODEL else layers.preset_of(model).options
    kept = {name: stored[name] for name in names if name not in of_row}
    return replace(run, config=with_options(run.config, **kept))
