"""Means over seeds and paired tests over users."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from mde_fast.experiments.statistics import paired_test, spread


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
