"""Measures beside accuracy: by hand on small cases, and against their definitions written out list by list."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse

from mde_fast.ranking.beyond import (
    MEASURES,
    BeyondAccuracy,
    format_beyond,
    gini,
    item_information,
    long_tail,
    user_groups,
)
from mde_fast.ranking.evaluator import average_metrics, hits_of, ranked_metrics


def matrix(rows: list[list[int]], num_items: int) -> scipy.sparse.csr_matrix:
    """(U, I) with a one for each item of a user's row."""
    users = [user for user, items in enumerate(rows) for _ in items]
    items = [item for row in rows for item in row]
    return scipy.sparse.csr_matrix((np.ones(len(items)), (users, items)), shape=(len(rows), num_items))


def measured(ranked, relevant, train, cutoffs, limits=(), num_items=None) -> dict:
    """All of it for users 0 to B - 1."""
    lists, held_out = np.array(ranked), matrix(relevant, num_items)
    hits = hits_of(lists, held_out)
    accuracy = ranked_metrics(lists, held_out, cutoffs)
    measure = BeyondAccuracy(matrix(train, num_items), cutoffs)
    return measure(lists, np.arange(len(lists)), hits, accuracy, limits)


# Items 0 to 4 have 4, 2, 1, 1, 0 train interactions. User 0 has three of them, users 1 and 2 two, user 3 one.
TRAIN = [[0, 1, 2], [0, 1], [0, 3], [0]]
RANKED = [[3, 4], [2, 3], [1, 2], [1, 3]]
RELEVANT = [[4], [2], [0], [1, 3]]


def test_by_hand():
    result = measured(RANKED, RELEVANT, TRAIN, (1, 2), num_items=5)["all"]
    # The first hits are at rank 2, 1, none, 1.
    assert result["hit@1"] == 2 / 4 and result["hit@2"] == 3 / 4
    assert result["mrr@1"] == 2 / 4 and result["mrr@2"] == (1 / 2 + 1 + 0 + 1) / 4
    # At 1: items 3, 2, 1, 1. At 2: also 4, 3, 2, 3.
    assert result["coverage@1"] == 3 / 5 and result["coverage@2"] == 4 / 5
    assert result["popularity@1"] == (1 + 1 + 2 + 2) / 4
    assert result["popularity@2"] == pytest.approx(((1 + 0) + (1 + 1) + (2 + 1) + (2 + 1)) / 2 / 4)
    # Of 8 interactions: 4 are one bit, 2 two bits, 1 three bits; none counts as the rarest.
    assert result["novelty@1"] == (3 + 3 + 2 + 2) / 4
    assert result["novelty@2"] == (3 + 3 + 3 + 3 + 2 + 3 + 2 + 3) / 8
    # Items 0, 1 and 2 have 7 of 8, items 0 and 1 but 6: 80 % are 6.4. The tail is 3 and 4.
    assert result["tail@1"] == 1 / 4
    assert result["tail@2"] == pytest.approx((2 + 1 + 0 + 1) / 2 / 4)
    # Times shown, ascending: at 1: 0 0 1 1 2, at 2: 0 1 2 2 3, weights -4 -2 0 2 4.
    assert result["gini@1"] == pytest.approx((2 + 8) / (5 * 4))
    assert result["gini@2"] == pytest.approx((-2 + 4 + 12) / (5 * 8))


def test_groups_by_hand():
    result = measured(RANKED, RELEVANT, TRAIN, (1, 2), limits=(1, 2), num_items=5)
    one, two, more = result["groups"]
    assert [group["train_interactions"] for group in (one, two, more)] == [[1, 1], [2, 2], [3, 3]]
    assert [group["users"] for group in (one, two, more)] == [1, 2, 1]
    assert (one["hit@1"], two["hit@1"], more["hit@1"]) == (1, 1 / 2, 0)
    assert (one["recall@2"], two["recall@2"], more["recall@2"]) == (1, 1 / 2, 1)
    assert two["mrr@2"] == 1 / 2 and more["mrr@2"] == 1 / 2
    assert two["coverage@2"] == 3 / 5 and more["coverage@2"] == 2 / 5
    assert two["popularity@2"] == pytest.approx((1 + 1 + 2 + 1) / 4)
    assert two["gini@2"] == pytest.approx((0 * 1 + 2 * 1 + 4 * 2) / (5 * 4))


def test_gini_of_even_and_of_single_counts():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 7])) == 3 / 4
    assert gini(np.zeros(4)) == 0
    assert gini(np.array([1, 0])) == gini(np.array([0, 5])) == 1 / 2


def test_information_of_an_item():
    assert item_information(np.array([4, 2, 1, 1, 0])).tolist() == [1, 2, 3, 3, 3]


def test_the_long_tail():
    assert long_tail(np.array([1, 4, 2, 0, 1])).tolist() == [False, False, False, True, True], "equals by their number"
    assert long_tail(np.array([8, 2])).tolist() == [False, True], "80 % exactly"
    assert long_tail(np.array([5, 5, 5, 5, 5])).tolist() == [False] * 4 + [True]
    assert long_tail(np.array([3])).tolist() == [False]


def test_groups_of_users():
    group, bounds = user_groups(np.array([1, 9, 3, 3, 30, 2]), (2, 5, 7, 10))
    assert group.tolist() == [0, 2, 1, 1, 3, 0], "nobody has 6 or 7"
    assert bounds == [(1, 2), (3, 3), (9, 9), (30, 30)]
    group, bounds = user_groups(np.arange(1, 9))
    assert group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and bounds == [(1, 2), (3, 4), (5, 6), (7, 8)]
    group, bounds = user_groups(np.array([2, 2, 2, 2, 2, 2, 2, 7]))
    assert group.tolist() == [0] * 7 + [1], "equal numbers stay together"
    assert user_groups(np.array([4, 4]))[1] == [(4, 4)]


def slowly(lists, relevant, train, cutoff, num_items) -> dict[str, float]:
    """The definitions, one list after the other."""
    count = [sum(row.count(item) for row in train) for item in range(num_items)]
    total, rarest = sum(count), min(n for n in count if n)
    tail, reached = set(range(num_items)), 0
    for item in sorted(range(num_items), key=lambda item: (-count[item], item)):
        if reached >= 0.8 * total:
            break
        tail.discard(item)
        reached += count[item]
    sums, shown = dict.fromkeys(("hit", "mrr", "novelty", "popularity", "tail"), 0.0), [0] * num_items
    for row, right in zip(lists, relevant):
        own = [item for item in row[:cutoff] if item >= 0]
        ranks = [rank for rank, item in enumerate(own, 1) if item in right]
        sums["hit"] += bool(ranks)
        sums["mrr"] += 1 / ranks[0] if ranks else 0
        for item in own:
            shown[item] += 1
            sums["novelty"] -= math.log2((count[item] or rarest) / total) / len(own)
            sums["popularity"] += count[item] / len(own)
            sums["tail"] += (item in tail) / len(own)
    pairs = sum(abs(one - other) for one in shown for other in shown)
    return {
        **{name: value / len(lists) for name, value in sums.items()},
        "coverage": sum(n > 0 for n in shown) / num_items,
        "gini": pairs / (2 * num_items * sum(shown)),  # the mean difference of two items, over twice the mean
    }


@pytest.mark.parametrize("users, items, width", [(1, 3, 2), (17, 30, 6), (40, 12, 12), (60, 200, 25)])
@pytest.mark.parametrize("short", [False, True])
def test_as_defined(users, items, width, short):
    rng = np.random.default_rng(users * items + short)
    popular = rng.dirichlet(np.full(items, 0.3))
    train = [rng.choice(items, rng.integers(1, 9), p=popular).tolist() for _ in range(users)]
    train = [sorted(set(row)) for row in train]
    relevant = [rng.choice(items, rng.integers(1, 3), replace=False).tolist() for _ in range(users)]
    lists = np.stack([rng.permutation(items)[:width] for _ in range(users)])
    if short:  # also one that is empty, except where it is alone
        for row, left in enumerate(rng.integers(0 if users > 1 else 1, width, users)):
            lists[row, left:] = -1
    cutoffs = (1, 3, 5, 20)  # longer than some lists
    result = measured(lists, relevant, train, cutoffs, num_items=items)
    for cutoff in cutoffs:
        expected = slowly(lists.tolist(), relevant, train, cutoff, items)
        assert expected.keys() == set(MEASURES)
        for name, value in expected.items():
            assert result["all"][f"{name}@{cutoff}"] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    assert sum(group["users"] for group in result["groups"]) == users
    for group in result["groups"]:
        fewest, most = group["train_interactions"]
        who = [user for user in range(users) if fewest <= len(train[user]) <= most]
        assert len(who) == group["users"]
        own, right = lists[who], [relevant[user] for user in who]
        counts = slowly(own.tolist(), right, train, 3, items) if (own[:, 0] >= 0).any() else {}
        for name, value in counts.items():
            assert group[f"{name}@3"] == pytest.approx(value, rel=1e-12, abs=1e-12), name
        accuracy = average_metrics(ranked_metrics(own, matrix(right, items), cutoffs))
        assert {name: group[name] for name in accuracy} == pytest.approx(accuracy)


def test_as_recbole_has_them(monkeypatch):
    """Where both have the same definition and every list is full."""
    metrics = pytest.importorskip("recbole.evaluator.metrics", reason="RecBole is not installed")
    monkeypatch.setattr(np, "float", float, raising=False)  # RecBole 1.2.1 is of a NumPy that had it
    rng = np.random.default_rng(5)
    users, items, cutoffs = 30, 50, [1, 5, 10]
    train = [sorted(set(rng.choice(items, 6).tolist())) for _ in range(users)]
    relevant = [rng.choice(items, 2, replace=False).tolist() for _ in range(users)]
    lists = np.stack([rng.permutation(items)[:10] for _ in range(users)])
    ours = measured(lists, relevant, train, cutoffs, num_items=items)["all"]
    count = np.bincount([item for row in train for item in row], minlength=items)
    hits = hits_of(lists, matrix(relevant, items)).astype(bool)

    def of(name):
        metric = getattr(metrics, name).__new__(getattr(metrics, name))
        metric.topk, metric.decimal_place, metric.tail = cutoffs, 12, 0.1
        return metric

    popularity = of("AveragePopularity")
    values = popularity.metric_info(popularity.get_pop(lists, dict(enumerate(count.tolist())))).mean(0)
    hit, mrr = (of(name).metric_info(hits).mean(0) for name in ("Hit", "MRR"))
    for k in cutoffs:
        assert ours[f"coverage@{k}"] == of("ItemCoverage").get_coverage(lists[:, :k], items)
        assert ours[f"gini@{k}"] == pytest.approx(of("GiniIndex").get_gini(lists[:, :k], items))
        assert ours[f"popularity@{k}"] == pytest.approx(values[k - 1])
        assert ours[f"hit@{k}"] == pytest.approx(hit[k - 1]) and ours[f"mrr@{k}"] == pytest.approx(mrr[k - 1])


def test_tables():
    result = measured(RANKED, RELEVANT, TRAIN, (1, 2), limits=(1,), num_items=5)
    lines = format_beyond(result, (1, 2), 2).splitlines()
    assert lines[0].split() == ["@1", "@2"]
    assert [line.split()[0] for line in lines[1:8]] == list(MEASURES)
    assert lines[2].split() == ["mrr", "0.5000", "0.6250"]
    assert lines[9] == "by train interactions, @2"
    assert lines[10].split() == ["users", "recall", "precision", "map", "ndcg", *MEASURES]
    assert lines[11].split()[:3] == ["1", "1", "1.0000"] and lines[12].split()[:5] == ["2", "to", "3", "3", "0.6667"]
