"""The option: what is made of features, what is kept of it, and what the log says."""

from __future__ import annotations

import pytest
import torch
from matrices import of_rank

from mde_fast.graphs import GraphCache
from mde_fast.nn import feature_rank
from mde_fast.nn.factors import Factors
from mde_fast.nn.feature_rank import FeatureRank, check_feature_rank, largest_rank_that_pays

MOST = 13  # that pays of 60 items by 24 columns


@pytest.fixture
def log(caplog):
    caplog.set_level("INFO", "mde_fast")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "mde_fast"]


def rank_of(value: str, features) -> int | None:
    """Of the factors; None for features as they were."""
    found = FeatureRank(value)("image", features)
    if isinstance(found, Factors):
        return found.left.shape[1]
    assert found is features
    return None


@pytest.mark.parametrize("value", ("full", "exact", "auto:0.1", "auto:2e-6", "1", "4096"))
def test_values(value):
    assert check_feature_rank(value) is None


@pytest.mark.parametrize("value", ("", "none", "0", "-1", "2.5", "auto", "auto:0", "auto:1", "auto:1e-9", "auto:nan"))
def test_other_values(value):
    assert "choose exact, full, auto:ERROR" in check_feature_rank(value)


def test_a_rank_pays_where_two_products_have_fewer_multiplications():
    assert largest_rank_that_pays(60, 24) == MOST
    assert MOST * (60 + 24) <= feature_rank.PAYS * 60 * 24 < (MOST + 1) * (60 + 24)
    assert largest_rank_that_pays(0, 24) == largest_rank_that_pays(1, 1) == 0


@pytest.mark.parametrize(
    "value, deficient, whole",
    [
        ("full", None, None),
        ("exact", 5, None),
        ("3", 3, 3),
        ("5", 5, 5),
        ("13", 5, 13),
        ("14", 5, None),
        ("4096", 5, None),
        ("auto:1e-5", 5, None),
    ],
)
def test_what_is_made_of_features(value, deficient, whole):
    """Of rank 5, and of as many independent columns as columns: larger ranks than pay leave features as they are."""
    assert rank_of(value, of_rank(5)) == deficient and rank_of(value, of_rank(24)) == whole


def test_an_error():
    ranks = [rank_of(f"auto:{error}", of_rank(5)) for error in (0.9, 0.5, 0.01)]
    assert ranks[0] < ranks[1] < ranks[2] == 5
    assert rank_of("auto:0.8", of_rank(24)) < MOST and rank_of("auto:0.1", of_rank(24)) is None


def test_more_columns_than_items():
    assert rank_of("exact", of_rank(5, 24, 60)) == 5 and rank_of("exact", of_rank(24, 24, 60)) is None


def test_the_log_says_what_was_found(log):
    rank_of("exact", of_rank(5))
    assert log() == [
        "features image: 5 of 24 columns are independent: the first layer's products cost 5 (--feature-rank)"
    ]


def test_the_log_says_what_is_kept(log):
    found = FeatureRank("3")("image", of_rank(5))
    (line,) = log()
    assert line.startswith(f"features image: rank 3 instead of 24 columns keeps {found.kept:.2%} of the squares")
    assert line.endswith("the first layer's products cost 3 (--feature-rank)")


def test_the_log_says_what_is_not_used(log):
    for value in ("exact", "full"):
        rank_of(value, of_rank(24))
    assert log() == []
    rank_of("14", of_rank(24))
    assert log() == [
        "features image: all 24 columns are multiplied, more than 13 of any kind would save too little "
        "(--feature-rank 14)"
    ]


@pytest.mark.parametrize("value, rank", (("exact", 5), ("exact", 24), ("3", 24), ("auto:0.8", 24), ("auto:0.1", 24)))
def test_what_was_found_is_kept(value, rank, tmp_path, monkeypatch):
    """Also that nothing was."""
    features = of_rank(rank)
    first = FeatureRank(value, GraphCache(tmp_path))("image", features)
    for name in ("exact_factors", "truncated_factors", "rank_for_error"):
        monkeypatch.setattr(feature_rank, name, None)
    again = FeatureRank(value, GraphCache(tmp_path))("image", features.clone())
    if isinstance(first, Factors):
        assert torch.equal(first.left, again.left) and torch.equal(first.right[0], again.right[0])
        assert first.kept == again.kept
    else:
        assert torch.equal(again, features)
    with pytest.raises(TypeError):
        FeatureRank(value, GraphCache(tmp_path))("image", features * 2)


def test_nothing_is_kept_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FeatureRank("exact", GraphCache(None))("image", of_rank(5))
    assert not list(tmp_path.iterdir())
