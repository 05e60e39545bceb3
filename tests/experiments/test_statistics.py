"""Means over seeds and paired tests over users."""

from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from mde_fast.experiments.statistics import LEVEL, agreement, holm, paired_test, spread, with_holm


def test_spread_is_that_of_a_sample():
    of_three = spread([1.0, 2.0, 6.0])
    assert of_three.mean == 3.0 and of_three.deviation == pytest.approx(np.sqrt((4 + 1 + 9) / 2))


def test_one_seed_has_no_deviation():
    assert spread([0.25]).mean == 0.25 and spread([0.25]).deviation is None


def test_users_are_averaged_over_the_seeds_that_both_have():
    rng = np.random.default_rng(0)
    row = {seed: rng.random(50) for seed in (1, 2, 3)}
    reference = {seed: rng.random(50) + 0.1 for seed in (2, 3, 4)}
    test = paired_test(row, reference)
    values, others = (row[2] + row[3]) / 2, (reference[2] + reference[3]) / 2
    assert test.seeds == (2, 3) and test.users == test.users_that_differ == 50
    assert test.difference == pytest.approx((values - others).mean())
    assert test.percent == pytest.approx(100 * (values.mean() / others.mean() - 1))
    assert test.t_test_p == pytest.approx(scipy.stats.ttest_rel(values, others).pvalue)
    assert test.wilcoxon_p == pytest.approx(scipy.stats.wilcoxon(values, others).pvalue)
    assert test.seeds_below == sum(row[seed].mean() < reference[seed].mean() for seed in (2, 3))


@pytest.mark.parametrize("shift, verdict", [(-0.2, "yes"), (0.2, "no, above"), (0.0, "not shown")])
def test_verdicts(shift, verdict):
    noise = np.random.default_rng(1).standard_normal(200) / 10
    noise -= noise.mean()
    reference = {1: np.full(200, 0.5)}
    assert paired_test({1: 0.5 + shift + noise}, reference).below == verdict


def test_one_test_alone_shows_nothing():
    """A few users far below and many slightly above: the mean says down, the ranks say up."""
    differences = np.concatenate([np.full(90, 0.01), np.full(12, -0.5)]) + np.linspace(0, 1e-4, 102)
    test = paired_test({1: differences}, {1: np.zeros(102)})
    assert max(test.t_test_p, test.wilcoxon_p) < 0.05
    assert test.difference < 0 and not test.ranks_below and test.below == "not shown"


def test_equal_differences_share_a_rank():
    """Means over three seeds of h / m differ in their last bit where the fractions do not."""
    rng = np.random.default_rng(3)
    held_out = rng.integers(1, 8, 400)
    sides = [{seed: rng.binomial(held_out, 0.3) for seed in (1, 2, 3)} for _ in range(2)]
    test = paired_test(*({seed: hits / held_out for seed, hits in side.items()} for side in sides))
    differences = [
        Fraction(int(sum(sides[0].values())[user] - sum(sides[1].values())[user]), 3 * int(held_out[user]))
        for user in range(400)
    ]
    assert test.users_that_differ == sum(difference != 0 for difference in differences)
    assert test.wilcoxon_p == scipy.stats.wilcoxon([float(difference) for difference in differences]).pvalue
    assert test.t_test_p == pytest.approx(scipy.stats.ttest_1samp([float(each) for each in differences], 0).pvalue)


def test_no_user_differs():
    test = paired_test({1: np.full(5, 0.3)}, {1: np.full(5, 0.3)})
    assert (test.t_test_p, test.wilcoxon_p, test.users_that_differ, test.below) == (None, None, 0, "not shown")


def test_a_reference_of_zero_has_no_percent():
    assert paired_test({1: np.array([0.1, 0.2, 0.4])}, {1: np.zeros(3)}).percent is None


def test_nothing_to_pair():
    assert paired_test({1: np.zeros(5)}, {2: np.zeros(5)}) is None
    assert paired_test({}, {2: np.zeros(5)}) is None
    assert paired_test({1: np.zeros(1)}, {1: np.ones(1)}) is None


def test_holm_by_hand():
    """Of four: the smallest times 4, the next times 3, ...; none below one that came before it."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.5, "b": None, "c": 0.9}) == {"a": 1.0, "b": None, "c": 1.0}
    assert holm({}) == {} and holm({"one": 0.03}) == {"one": 0.03}


def test_one_of_many_small_differences_is_not_shown():
    """p of 0.02 is one of twenty by chance; alone it is shown."""
    rng = np.random.default_rng(3)
    reference = {999: rng.random(400)}
    row = {999: reference[999] - 0.005 - rng.normal(0, 0.1, 400)}
    alone = paired_test(row, reference)
    assert 0.001 < max(alone.t_test_p, alone.wilcoxon_p) < LEVEL and alone.below == "yes"
    others = {str(number): {999: reference[999] + rng.normal(0, 0.1, 400)} for number in range(19)}
    tests = {"row": alone, **{name: paired_test(other, reference) for name, other in others.items()}}
    corrected = with_holm(tests)["row"]
    assert corrected.below == "not shown" and corrected.t_test_p == alone.t_test_p < corrected.t_test_holm_p


def test_agreement_of_two_orders():
    assert asdict(agreement([1, 2, 3, 4], [10, 20, 30, 40])) == {"kendall_tau": 1, "spearman_rho": 1}
    opposite = agreement([1, 2, 3], [3, 2, 1])
    assert opposite.kendall_tau == opposite.spearman_rho == pytest.approx(-1)
    assert agreement([1, 2, 3, 4], [1, 2, 4, 3]).kendall_tau == pytest.approx(4 / 6)  # five pairs agree, one does not
    assert agreement([1, 2], [1, 2]) is None and agreement([1, 1, 1], [1, 2, 3]) is None
