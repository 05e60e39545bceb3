"""Where a training stands, when it is over, and how long the rest can take."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from typing import Any

from .options import TrainingOptions


@dataclass
class Progress:
    """Where a run stands; all of it is in a checkpoint.

    Attributes:
        epoch: epochs finished. step: steps done of the next one.
        best_epoch: with the best validation metric; 0 before the first evaluation. best_value: that metric, rounded.
        history: a row per finished epoch, as in metrics.jsonl.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_value: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def seconds_per_epoch(self) -> float:
        """The median of the last epochs, evaluation included."""
        return statistics.median(row["seconds"] + row["seconds_evaluation"] for row in self.history[-9:])


def needed(options: TrainingOptions, learns: bool) -> TrainingOptions:
    """The options as far as a model needs them: where nothing is learned one epoch is all, others would be the same."""
    return options if learns else replace(options, epochs=1)


def is_over(options: TrainingOptions, epochs: int, best_epoch: int) -> bool:
    """Whether training ends after so many epochs: at the limit, or when the best one is too long ago."""
    return epochs >= options.epochs or (epochs > 0 and epochs - best_epoch >= options.stopping_step)


def time_left(options: TrainingOptions, progress: Progress) -> str:
    """``3 min to 1.5 h left``: without another improvement, and up to the last epoch."""
    seconds = progress.seconds_per_epoch()
    most = options.epochs - progress.epoch
    least = min(most, progress.best_epoch + options.stopping_step - progress.epoch)
    if most <= 0 or least <= 0:
        return "nothing left"
    if least == most:
        return f"{duration(most * seconds)} left"
    return f"{duration(least * seconds)} to {duration(most * seconds)} left"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
