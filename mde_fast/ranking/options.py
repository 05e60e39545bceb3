"""What is reported of a ranking, and which metric selects the best epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from ..options import Options, option

METRICS = ("recall", "precision", "map", "ndcg")


def _check_topk(value: tuple[int, ...]) -> str | None:
    return None if value and all(k >= 1 for k in value) else "needs one or more cut-offs of 1 or more"


def _check_metric(value: str) -> str | None:
    name, _, cutoff = value.partition("@")
    good = name.lower() in METRICS and re.fullmatch("[1-9][0-9]*", cutoff)
    return None if good else "must be recall, precision, map or ndcg with a cut-off, e.g. recall@20"


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """What an evaluation measures."""

    owner: ClassVar[str] = "evaluation"

    topk: tuple[int, ...] = option((5, 10, 20, 50), "cut-offs to report", check=_check_topk)
    valid_metric: str = option("recall@20", "selects the best epoch", check=_check_metric)

    @property
    def metric(self) -> str:
        """``valid_metric`` as results spell it, such as ``recall@20``."""
        return self.valid_metric.lower()

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every K that is measured: those of ``topk``, and that of the metric which selects."""
        return (*self.topk, int(self.valid_metric.partition("@")[2]))
