"""Means over seeds, and paired tests over users."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

LEVEL = 0.05


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; one seed has no deviation."""

    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Of one value per seed."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class PairedTest:
    """A row against the reference, on the same users.

    Attributes:
        difference: mean over users, row minus reference. percent: of the reference's mean; None if that is 0.
        t_test_p: two-sided paired t-test. wilcoxon_p: two-sided Wilcoxon signed-rank test, which leaves users without
            a difference out. Both are None when no user differs.
        users: n of the t-test. users_that_differ: n of the Wilcoxon test.
        ranks_below: whether the Wilcoxon test's ranks, too, put the row below; None when no user differs.
        seeds: over which each user's metric was averaged first. seeds_below: how many of them put the row below.
    """

    difference: float
    percent: float | None
    t_test_p: float | None
    wilcoxon_p: float | None
    users: int
    users_that_differ: int
    ranks_below: bool | None
    seeds: tuple[int, ...]
    seeds_below: int

    @property
    def below(self) -> str:
        """Whether the row is below: ``yes`` or ``no, above`` when both tests say so, else ``not shown``."""
        if self.t_test_p is None or max(self.t_test_p, self.wilcoxon_p) >= LEVEL:
            return "not shown"
        if (self.difference < 0) != self.ranks_below:  # a few users far off outweigh the many
            return "not shown"
        return "yes" if self.difference < 0 else "no, above"


def paired_test(row: Mapping[int, np.ndarray], reference: Mapping[int, np.ndarray]) -> PairedTest | None:
    """Compare two rows by a metric.

    Args:
        row, reference: seed -> the metric of each user (n,), in the same order of users.

    Returns:
        The test over the seeds that both have; None if there is none, or a single user.
    """
    seeds = tuple(seed for seed in row if seed in reference)
    if not seeds:
        return None
    values, others = (np.mean([side[seed] for seed in seeds], axis=0) for side in (row, reference))
    # Differences that are equal as fractions have to be equal numbers: ranks would follow the rounding otherwise.
    differences = np.round(values - others, 12)
    if len(differences) < 2:
        return None
    differing = int(np.count_nonzero(differences))
    of_those = differences[differences != 0]
    signed_ranks = np.sign(of_those) * scipy.stats.rankdata(np.abs(of_those))
    return PairedTest(
        difference=float(differences.mean()),
        percent=float(100 * differences.mean() / others.mean()) if others.mean() else None,
        t_test_p=float(scipy.stats.ttest_1samp(differences, 0).pvalue) if differing else None,
        wilcoxon_p=float(scipy.stats.wilcoxon(differences).pvalue) if differing else None,
        users=len(differences),
        users_that_differ=differing,
        ranks_below=bool(signed_ranks.sum() < 0) if differing else None,
        seeds=seeds,
        seeds_below=sum(float(row[seed].mean()) < float(reference[seed].mean()) for seed in seeds),
    )
