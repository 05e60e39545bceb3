import numpy as np
import pytest

from mde_fast.data.dataset import Split
from mde_fast.data.split import PARTS, SplitRule


def random_pairs(rng, repeats=False) -> Split:
    """Pairs of up to 30 users, some with one or two items, in random order."""
    users = rng.integers(30, size=rng.integers(1, 400))
    items = rng.integers(60, size=len(users))
    if repeats:
        return Split(users, items)
    _, first = np.unique(users * 60 + items, return_index=True)
    first = rng.permutation(first)
    return Split(users[first], items[first])


def random_rule(rng, how) -> SplitRule:
    shares = rng.dirichlet([3, 1, 1])
    if rng.random() < 0.3:
        shares[rng.integers(1, 3)] = 0
    return SplitRule(how, tuple(shares / shares.sum()), int(rng.integers(1000)))


def in_order(split) -> list[tuple[int, int]]:
    return list(zip(split.users.tolist(), split.items.tolist()))


def as_set(split) -> set[tuple[int, int]]:
    return set(in_order(split))


@pytest.mark.parametrize("how", ["random", "temporal"])
@pytest.mark.parametrize("seed", range(40))
def test_counts_follow_the_rule(seed, how):
    rng = np.random.default_rng(seed)
    pairs, rule = random_pairs(rng), random_rule(rng, how)
    parts = rule.apply(pairs, rng.integers(50, size=len(pairs)))
    assert set().union(*map(as_set, parts.values())) == as_set(pairs)
    assert sum(map(len, parts.values())) == len(pairs)
    for user in np.unique(pairs.users):
        n = (pairs.users == user).sum()
        train, valid, test = ((parts[part].users == user).sum() for part in PARTS)
        if n < 3:
            assert (train, valid, test) == (n, 0, 0)
            continue
        wanted = [0 if ratio == 0 else max(1, round(n * ratio)) for ratio in rule.ratios[1:]]
        if sum(wanted) < n:
            assert [valid, test] == wanted
        assert train >= 1 and valid <= wanted[0] and test <= wanted[1]
        assert (valid > 0) == (wanted[0] > 0) and (test > 0) == (wanted[1] > 0)


@pytest.mark.parametrize("seed", range(20))
def test_temporal_holds_out_the_latest(seed):
    rng = np.random.default_rng(seed)
    pairs = random_pairs(rng)
    times = rng.integers(10, size=len(pairs))
    parts = SplitRule("temporal").apply(pairs, times)
    # Ties are broken by the order of the file.
    moment = {pair: (time, row) for row, (pair, time) in enumerate(zip(in_order(pairs), times))}
    for user in np.unique(pairs.users):
        moments = [[moment[pair] for pair in as_set(parts[part]) if pair[0] == user] for part in PARTS]
        bounds = [bound for part in moments if part for bound in (min(part), max(part))]
        assert bounds == sorted(bounds)


@pytest.mark.parametrize("how", ["random", "temporal"])
def test_repeated_pairs_are_never_in_two_parts(how):
    rng = np.random.default_rng(3)
    pairs = random_pairs(rng, repeats=True)
    parts = SplitRule(how).apply(pairs, rng.random(len(pairs)))
    assert sum(map(len, parts.values())) == len(as_set(pairs))


def test_a_repeated_pair_counts_at_its_earliest_time():
    pairs = Split(np.zeros(4, np.int64), np.array([0, 1, 2, 0]))
    parts = SplitRule("temporal").apply(pairs, np.array([9, 2, 3, 1]))
    assert [parts[part].items.tolist() for part in PARTS] == [[0], [1], [2]]


def test_seed_decides_the_draw():
    pairs = Split(np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20))
    first, again, other = (SplitRule(seed=seed).apply(pairs)["test"] for seed in (1, 1, 2))
    assert as_set(first) == as_set(again) != as_set(other)
    assert first.users.tolist() == again.users.tolist()


def test_parts_keep_the_order_of_the_file():
    pairs = random_pairs(np.random.default_rng(0))
    row = {pair: row for row, pair in enumerate(in_order(pairs))}
    for part in SplitRule().apply(pairs).values():
        rows = [row[pair] for pair in in_order(part)]
        assert rows == sorted(rows)


def test_without_test_keeps_the_proportion():
    assert SplitRule(ratios=(0.6, 0.2, 0.2)).without_test().ratios == pytest.approx((0.75, 0.25, 0))


@pytest.mark.parametrize(
    "ratios", [(0.8, 0.2), (0.8, 0.1, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5), (1, 1, 1, 1)]
)
def test_ratios_are_checked(ratios, refused):
    with refused("--split-ratios", "0.8 0.1 0.1"):
        SplitRule(ratios=ratios)


def test_kind_and_seed_are_checked(refused):
    with refused("'by_user'", "--split", "random or temporal"):
        SplitRule("by_user")
    with refused("-1", "--split-seed"):
        SplitRule(seed=-1)
