"""X = Q B: the rank that there is, an error that is a rounding, and what is kept where directions are cut off."""

from __future__ import annotations

import pytest
import torch
from matrices import of_rank

from mde_fast.nn import factors as module
from mde_fast.nn.factors import (
    EXACT,
    Factors,
    cut,
    exact_factors,
    on_rows,
    rank_for_error,
    side_by_side,
    truncated_factors,
)


def product(factors: Factors) -> torch.Tensor:
    """Q B in float64."""
    (right,) = factors.right
    return factors.left.double() @ right.double()


def error(features, factors) -> float:
    return float((features.double() - product(factors)).norm() / features.double().norm())


@pytest.mark.parametrize("shape", ((60, 24), (24, 60), (300, 100), (2500, 40)))
@pytest.mark.parametrize("rank", (1, 3, 12, 18))
@pytest.mark.parametrize("rows_per_block", (7, 1024))
def test_the_rank_is_found_and_the_product_is_the_matrix(shape, rank, rows_per_block, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BLOCK", rows_per_block)
    features = of_rank(rank, *shape)
    factors = exact_factors(features, 20)
    assert factors is not None and factors.left.shape == (shape[0], rank) and factors.kept == 1
    assert factors.shape == shape and error(features, factors) < EXACT / 4
    (right,) = factors.right
    torch.testing.assert_close(right @ right.T, torch.eye(rank), atol=1e-6, rtol=0)


def test_more_independent_columns_than_are_of_use():
    assert exact_factors(of_rank(21, 300, 100), 20) is None
    assert exact_factors(of_rank(100, 300, 100), 20) is None
    assert exact_factors(of_rank(20, 300, 100), 20) is not None


def test_noise_above_a_rounding_is_content():
    assert exact_factors(of_rank(5, noise=1e-7), 15).left.shape[1] == 5
    assert exact_factors(of_rank(5, noise=1e-5), 15) is None
    assert exact_factors(of_rank(5).half().float(), 15) is None, "float16 rounds by 5e-4"


def test_full_rank_is_seen_on_few_random_sums(monkeypatch):
    """Nothing is made of X but these sums."""
    monkeypatch.setattr(module, "_towards_the_strongest", None)
    assert exact_factors(of_rank(90, 400, 90), 40) is None


def test_copies_of_items_and_items_without_content_hide_nothing():
    features = of_rank(30, 400, 90)
    features[50:] = features[:50].repeat(7, 1)
    features[3] = 0
    factors = exact_factors(features, 50)
    assert factors.left.shape == (400, 30) and error(features, factors) < EXACT / 4
    assert factors.left[3].eq(0).all()


def test_an_item_of_small_numbers_and_a_kind_of_its_own_counts_like_others():
    features = of_rank(5)
    features[7] = 1e-6 * of_rank(1, 1, seed=3)
    factors = exact_factors(features, 15)
    assert factors.left.shape[1] == 6
    torch.testing.assert_close(product(factors)[7], features[7].double(), rtol=1e-5, atol=1e-12)


def test_items_that_are_nearly_alike_are_told_apart():
    """As where every column has a large mean: what is left of it is a thousandth."""
    features = 1000 * of_rank(1, 400, 90, seed=5).sign() + of_rank(29, 400, 90) / of_rank(29, 400, 90).std()
    factors = exact_factors(features, 50)
    assert factors.left.shape[1] == 30 and error(features, factors) < EXACT
    assert exact_factors(1000 * of_rank(1, 400, 90, seed=5).sign() + of_rank(90, 400, 90), 50) is None


def test_columns_without_content_stay_without():
    features = of_rank(5)
    features[:, [0, 9, 23]] = 0
    for factors in (exact_factors(features, 15), truncated_factors(features, 3)):
        (right,) = factors.right
        assert right[:, [0, 9, 23]].eq(0).all()


def test_no_content_at_all():
    features = torch.zeros(60, 24)
    for factors in (exact_factors(features, 15), truncated_factors(features, 3)):
        assert product(factors).eq(0).all() and factors.kept == 1
    assert exact_factors(features, 15).left.shape[1] == 1


@pytest.mark.parametrize("rank", (1, 8, 20))
def test_what_is_cut_off_is_little_more_than_need_be(rank):
    """Of strengths that decay, against the singular value decomposition."""
    features = of_rank(100, 400, 100) @ torch.diag(torch.arange(1.0, 101) ** -1)
    squares = torch.linalg.svdvals(features.double()).square()
    best = float(squares[:rank].sum() / squares.sum())
    factors = truncated_factors(features, rank)
    assert factors.left.shape[1] == rank and best - 0.003 < factors.kept <= best + 1e-12
    assert error(features, factors) == pytest.approx((1 - factors.kept) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("asked", (0.3, 0.1, 0.03))
@pytest.mark.parametrize("shape", ((400, 100), (100, 400)))
def test_an_error_is_kept_by_the_fewest_directions(asked, shape):
    features = of_rank(90, *shape)
    features = features @ torch.diag(torch.arange(1.0, shape[1] + 1) ** -1)
    squares = torch.linalg.svdvals(features.double()).square()
    rests = 1 - squares.cumsum(0) / squares.sum()
    fewest = int((rests > asked**2).sum()) + 1
    assert rank_for_error(features, asked) == fewest
    factors = truncated_factors(features, fewest, asked)
    assert error(features, factors) <= asked * (1 + 1e-6) and factors.left.shape[1] <= fewest + fewest // 8 + 1


def test_exact_factors_are_cut_at_their_best():
    features = of_rank(12)
    exact = exact_factors(features, 20)
    squares = torch.linalg.svdvals(features.double()).square()
    shares = squares.cumsum(0) / squares.sum()
    four = cut(exact, 4)
    assert four.kept == pytest.approx(float(shares[3]), abs=1e-7)
    assert error(features, four) == pytest.approx((1 - four.kept) ** 0.5, rel=1e-4)
    fewest = int((shares < 1 - 0.3**2).sum()) + 1
    assert cut(exact, None, 0.3).left.shape[1] == fewest
    assert cut(exact, None, 1e-6).left.shape[1] == 12


def test_bits_repeat():
    features = of_rank(5)
    first, again = (exact_factors(features, 15) for _ in range(2))
    assert torch.equal(first.left, again.left) and torch.equal(first.right[0], again.right[0])


def test_linear_maps_of_rows_and_modalities_side_by_side():
    features, other = of_rank(5), of_rank(7, columns=7, seed=1)
    factors, mix = exact_factors(features, 15), torch.randn(11, 60, generator=torch.Generator().manual_seed(0))
    mixed = on_rows(lambda x: mix @ x, factors)
    torch.testing.assert_close(product(mixed), (mix @ features).double(), rtol=1e-4, atol=1e-4)
    assert torch.equal(on_rows(lambda x: mix @ x, features), mix @ features)
    assert torch.equal(side_by_side([features, other]), torch.cat([features, other], dim=1))
    both = side_by_side([factors, other])
    assert both.shape == (60, 31) and both.left.shape == (60, 12) and both.right == (factors.right[0], 7)
