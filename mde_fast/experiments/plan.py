"""Which runs the experiments need, and how far each is on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..runs.config import Config
from ..runs.run import RESUMABLE_CHANGES, RunFolder
from ..training.trainer import is_over
from .rows import EXPERIMENTS, REFERENCE, row_config

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
        if result is None or not is_over(self.config, result["epochs_run"], result["best_epoch"]):
            return None
        return result

    def epochs_done(self) -> int:
        """Epochs that an unfinished run has behind it."""
        run = RunFolder(self.path)
        return run.load_json("checkpoints/last.json")["epoch"] if run.has_checkpoint("last") else 0

    def changes(self) -> dict[str, Any]:
        """Options that a run that was begun goes on with, other than it was begun with."""
        stored = RunFolder.open(self.path).config()
        asked = {name: getattr(self.config, name) for name in RESUMABLE_CHANGES}
        return {name: value for name, value in asked.items() if value not in (None, getattr(stored, name))}

    def check(self) -> None:
        """Refuse a folder that was made with other options than are asked for now.

        Raises:
            InputError: naming the options, or more epochs done than asked for.
        """
        if not self.begun:
            return
        stored = RunFolder.open(self.path).config()
        differing = [
            f"{entry.name} {getattr(stored, entry.name)} (now {getattr(self.config, entry.name)})"
            for entry in fields(Config)
            if entry.name not in RESUMABLE_CHANGES and getattr(stored, entry.name) != getattr(self.config, entry.name)
        ]
        if differing:
            raise InputError(
                f"{self.path}: made with {', '.join(differing)}; give another --output, or remove that folder to train "
                "it again"
            )
        result = self._metrics()
        if result is not None and result["epochs_run"] > self.config.epochs:
            raise InputError(
                f"{self.path}: has {result['epochs_run']} epochs, more than --epochs {self.config.epochs}; ask for as "
                "many or more, or give another --output"
            )

    def _metrics(self) -> dict[str, Any] | None:
        run = RunFolder(self.path)
        return run.load_json("metrics.json", RESULT_ENTRIES) if (run.path / "metrics.json").is_file() else None


def plan_runs(
    experiments: Iterable[str], options: Mapping[str, Any], seeds: Sequence[int], output: Path
) -> list[PlannedRun]:
    """Every run that the experiments need, each once, all rows of a seed before the next seed.

    So a command that is stopped early leaves whole comparisons behind, of fewer seeds.

    Raises:
        InputError: a folder holds a run with other options.
    """
    rows = list(dict.fromkeys(row for name in experiments for row in EXPERIMENTS[name].rows))
    rows.sort(key=lambda row: row != REFERENCE)  # the one that all others are compared with comes first
    runs = [
        PlannedRun(row, seed, output / "runs" / f"{row}-seed{seed}", row_config(options, row, seed))
        for seed in seeds
        for row in rows
    ]
    for run in runs:
        run.check()
    return runs
