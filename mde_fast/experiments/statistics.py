"""Means over seeds, and paired tests over users."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
        t_test_holm_p, wilcoxon_holm_p: the same as one of several tests, see :func:`with_holm`; until then, as one.
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
    t_test_holm_p: float | None
    wilcoxon_holm_p: float | None

    @property
    def below(self) -> str:
        """Whether the row is below: ``yes`` or ``no, above`` when both corrected tests say so, else ``not shown``."""
        values = self.t_test_holm_p, self.wilcoxon_holm_p
        if any(value is None or value >= LEVEL for value in values):
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
    t_test_p = float(scipy.stats.ttest_1samp(differences, 0).pvalue) if differing else None
    wilcoxon_p = float(scipy.stats.wilcoxon(differences).pvalue) if differing else None
    signed_ranks = np.sign(of_those) * scipy.stats.rankdata(np.abs(of_those))
    return PairedTest(
        difference=float(differences.mean()),
        percent=float(100 * differences.mean() / others.mean()) if others.mean() else None,
        t_test_p=t_test_p,
        wilcoxon_p=wilcoxon_p,
        users=len(differences),
        users_that_differ=differing,
        ranks_below=bool(signed_ranks.sum() < 0) if differing else None,
        seeds=seeds,
        seeds_below=sum(float(row[seed].mean()) < float(reference[seed].mean()) for seed in seeds),
        t_test_holm_p=t_test_p,
        wilcoxon_holm_p=wilcoxon_p,
    )


def with_holm(tests: Mapping[str, PairedTest]) -> dict[str, PairedTest]:
    """The tests of several rows against one reference with p values corrected for their number (Holm, 1979).

    Rows of which no user differs have no p value; they count all the same, since they were looked at.
    """
    corrected = {
        field: holm({name: getattr(test, field) for name, test in tests.items()})
        for field in ("t_test_p", "wilcoxon_p")
    }
    return {
        name: replace(test, t_test_holm_p=corrected["t_test_p"][name], wilcoxon_holm_p=corrected["wilcoxon_p"][name])
        for name, test in tests.items()
    }


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Step-down corrected p values: the smallest times n, the next times n - 1, ..., none below one before it."""
    ordered = sorted((value, name) for name, value in p_values.items() if value is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for place, (value, name) in enumerate(ordered):
        largest = max(largest, min(1.0, value * (len(p_values) - place)))
        corrected[name] = largest
    return corrected


@dataclass(frozen=True)
class Agreement:
    """How far two orders of the same systems agree.

    Attributes:
        kendall_tau, spearman_rho: rank correlations, 1 for the same order and -1 for the opposite.
    """

    kendall_tau: float
    spearman_rho: float


def agreement(here: Sequence[float], published: Sequence[float]) -> Agreement | None:
    """Of one metric of the same systems, here and published; None of fewer than three or where all are equal."""
    if len(here) < 3 or len(set(here)) < 2 or len(set(published)) < 2:
        return None
    tau, rho = (test(here, published).statistic for test in (scipy.stats.kendalltau, scipy.stats.spearmanr))
    return Agreement(float(tau), float(rho))
