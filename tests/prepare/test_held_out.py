"""What each rule holds out."""

from dataclasses import replace

import numpy as np
import pytest

from mde_fast.errors import InputError
from mde_fast.prepare.filters import once
from mde_fast.prepare.interactions import Interactions
from mde_fast.prepare.splits import RULES, hold_out


@pytest.fixture
def made() -> Interactions:
    draw = np.random.default_rng(1)
    columns = draw.integers(30, size=400), draw.integers(40, size=400)
    return once(Interactions(*columns, np.arange(30), np.arange(40), times=draw.integers(200, size=400)))


@pytest.mark.parametrize("how", RULES)
def test_every_rule_holds_out_something_and_repeats(made, how):
    held = hold_out(made, how)
    assert held.parts.shape == (len(made),) and set(held.parts.tolist()) == {0, 1, 2}
    assert (held.parts == hold_out(made, how).parts).all() and how in held.said


@pytest.mark.parametrize("how", ("random", "cold-items"))
def test_seeds_draw_anew(made, how):
    assert (hold_out(made, how, seed=1).parts != hold_out(made, how, seed=2).parts).any()


def test_after_one_date_for_everybody(made):
    """Nothing of validation is before anything of training, nor cut through at one moment."""
    parts = hold_out(made, "global-time").parts
    ends = [(made.times[parts == part].min(), made.times[parts == part].max()) for part in range(3)]
    assert ends[0][1] < ends[1][0] and ends[1][1] < ends[2][0]
    assert (parts == 0).mean() == pytest.approx(0.8, abs=0.03)


def test_dates_are_said_as_dates(made):
    """Whatever unit they come in."""
    seconds = 1_700_000_000 + 86_400 * made.times
    for scale in (1, 1000, 10**6, 10**9):
        said = hold_out(replace(made, times=seconds * scale), "global-time").said
        assert "validation from 2024-" in said and said == hold_out(replace(made, times=seconds), "global-time").said


def test_leave_one_out(made):
    parts = hold_out(made, "leave-one-out").parts
    for user in range(len(made.user_ids)):
        mine = made.users == user
        if mine.sum() < 3:
            assert (parts[mine] == 0).all()
            continue
        assert sorted(parts[mine].tolist())[-3:] == [0, 1, 2] and (parts[mine] > 0).sum() == 2
        test, valid = (made.times[mine & (parts == part)][0] for part in (2, 1))
        assert test >= valid >= made.times[mine & (parts == 0)].max()


def test_leave_one_out_draws_where_there_are_no_times(made):
    without = replace(made, times=None)
    held = hold_out(without, "leave-one-out", seed=4)
    assert "one drawn, seed 4" in held.said
    assert (np.bincount(made.users[held.parts == 2]) <= 1).all()
    assert (held.parts != hold_out(without, "leave-one-out", seed=5).parts).any()


def test_whole_items_are_cold(made):
    parts = hold_out(made, "cold-items", (0.6, 0.2, 0.2)).parts
    items = [set(made.items[parts == part].tolist()) for part in range(3)]
    assert not items[0] & items[1] and not items[0] & items[2] and not items[1] & items[2]
    assert [len(each) for each in items] == [24, 8, 8]


def test_a_share_of_each_user_s(made):
    for how in ("random", "temporal"):
        parts = hold_out(made, how).parts
        for user in range(len(made.user_ids)):
            counts = np.bincount(parts[made.users == user], minlength=3)
            assert counts[0] >= 1 and (counts.sum() < 3 or counts.min() >= 1)
    latest = hold_out(made, "temporal").parts
    for user in range(len(made.user_ids)):
        mine = made.users == user
        if (latest[mine] == 2).any():
            assert made.times[mine & (latest == 2)].min() >= made.times[mine & (latest == 0)].max()


def test_refusals(made):
    for how in ("temporal", "global-time"):
        with pytest.raises(InputError, match=f"^--split {how}: the interactions have no time column"):
            hold_out(replace(made, times=None), how)
    with pytest.raises(InputError, match="^--split sometimes: is not one of random, temporal, global-time"):
        hold_out(made, "sometimes")
    with pytest.raises(InputError, match="split ratios 0.5/0.1/0.1 are not usable"):
        hold_out(made, "global-time", (0.5, 0.1, 0.1))
