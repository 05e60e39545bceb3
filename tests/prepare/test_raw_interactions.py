"""Raw interactions in every form, and what thins them out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mde_fast.errors import InputError
from mde_fast.prepare.filters import Steps, at_least_rated, core, once, within
from mde_fast.prepare.interactions import Interactions, read_interactions

ROWS = (("ann", "x", 5, 10), ("bob", "y", 2, 20), ("ann", "y", 4, 30))


def _read(path, **names) -> Interactions:
    return read_interactions(Path(path), names)


def _assert_rows(read: Interactions, rows=ROWS) -> None:
    assert [read.user_ids[user] for user in read.users] == [row[0] for row in rows]
    assert [read.item_ids[item] for item in read.items] == [row[1] for row in rows]
    assert read.weights.tolist() == [row[2] for row in rows] and read.times.tolist() == [row[3] for row in rows]


def test_amazon_reviews(tmp_path):
    """Of 2014 and of 2023, whose names differ; what is nested or long is passed over; compressed or not."""
    for names in (
        ("reviewerID", "asin", "overall", "unixReviewTime"),
        ("user_id", "parent_asin", "rating", "timestamp"),
    ):
        lines = [json.dumps({**dict(zip(names, row)), "text": "good", "images": [{"a": 1}]}) for row in ROWS]
        (tmp_path / "reviews.json").write_text("\n".join(lines) + "\n")
        with gzip.open(tmp_path / "reviews.jsonl.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
        for name in ("reviews.json", "reviews.jsonl.gz"):
            _assert_rows(_read(tmp_path / name))


def test_tables(tmp_path):
    text = "user,item,stars,time\n" + "".join(",".join(map(str, row)) + "\n" for row in ROWS)
    (tmp_path / "orders.csv").write_text(text)
    (tmp_path / "orders.tsv").write_text(text.replace(",", "\t"))
    with gzip.open(tmp_path / "orders.csv.gz", "wt") as file:
        file.write(text)
    columns = dict(zip(("user", "item", "stars", "time"), zip(*ROWS)))
    pa.parquet.write_table(
        pa.table({name: list(cells) for name, cells in columns.items()}), tmp_path / "orders.parquet"
    )
    for name in ("orders.csv", "orders.tsv", "orders.csv.gz", "orders.parquet"):
        _assert_rows(_read(tmp_path / name))


def test_dates_are_the_same_number_in_every_form(tmp_path):
    """So that --since means the same day whichever it is."""
    days = ["2024-01-31", "2024-02-01"]
    (tmp_path / "days.csv").write_text("user,item,date\n" + "".join(f"a,{n},{day}\n" for n, day in enumerate(days)))
    for name, kind in (("date", pa.date32()), ("seconds", pa.timestamp("s")), ("zone", pa.timestamp("ms", "UTC"))):
        dates = pa.array(np.array(days, dtype="datetime64[D]")).cast(pa.timestamp("ms")).cast(kind)
        pa.parquet.write_table(
            pa.table({"user": ["a", "a"], "item": [0, 1], "date": dates}), tmp_path / f"{name}.parquet"
        )
        read = _read(tmp_path / f"{name}.parquet")
        assert read.times.tolist() == _read(tmp_path / "days.csv").times.tolist(), name


def test_movielens(tmp_path):
    rows = ((1, 31, 3, 978300760), (2, 31, 5, 978302109))
    (tmp_path / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in rows))
    (tmp_path / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    for name in ("ratings.dat", "u.data"):
        _assert_rows(_read(tmp_path / name), rows)
    (tmp_path / "ratings.dat").write_text("1::31::3::978300760\n1::31::3\n")
    with pytest.raises(InputError, match=r"ratings.dat: row 2: '1::31::3' is not user::item::rating::time"):
        _read(tmp_path / "ratings.dat")


def test_times_and_ratings_may_be_missing(tmp_path):
    (tmp_path / "orders.csv").write_text("user,item\nann,x\nbob,y\n")
    read = _read(tmp_path / "orders.csv")
    assert len(read) == 2 and read.times is None and read.weights is None
    with pytest.raises(InputError, match="^--min-rating: the interactions have no rating column; name it with"):
        at_least_rated(read, 3)
    with pytest.raises(InputError, match="^--since, --until: the interactions have no time column"):
        within(read, 3, None)


@pytest.mark.parametrize(
    "name, text, names, message",
    (
        ("a.csv", "who,what\nx,y\n", {}, "a.csv: no user column found among: who, what; name it with --user-column"),
        ("a.csv", "user,item\nx,y\n", {"weight": "stars"}, r"no column 'stars' \(--weight-column\)"),
        ("a.csv", "user,item,rating\nx,y,good\n", {}, "a.csv: row 2: rating 'good' is no number"),
        ("a.csv", "user,item,rating\nx,y,nan\n", {}, "a.csv: row 2: no rating; fill it in or drop the row"),
        ("a.csv", "user,item,time\nx,y,noon\n", {}, "a.csv: row 2: time 'noon' cannot be read"),
        ("a.jsonl", '{"user": 1, "item": 2}\n{"user"\n', {}, "a.jsonl: cannot be read as JSON lines"),
        ("a.xlsx", "x", {}, "a.xlsx: form not known from its ending; use .csv"),
    ),
)
def test_what_cannot_be_used(tmp_path, name, text, names, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        _read(tmp_path / name, **names)


def _drawn(count: int, users: int, items: int, seed: int = 0) -> Interactions:
    draw = np.random.default_rng(seed)
    made = Interactions(
        draw.integers(users, size=count),
        draw.integers(items, size=count),
        np.arange(users),
        np.arange(items),
        times=draw.integers(1000, size=count),
        weights=draw.integers(1, 6, size=count).astype(float),
    )
    return made.where(np.ones(count, dtype=bool))


def test_ratings_and_times():
    made = _drawn(300, 20, 30)
    assert (at_least_rated(made, 4).weights >= 4).all() and len(at_least_rated(made, 4)) == (made.weights >= 4).sum()
    kept = within(made, 200, 700)
    assert len(kept) == ((made.times >= 200) & (made.times < 700)).sum() and kept.times.max() < 700


def test_each_pair_once_is_the_earliest():
    made = _drawn(500, 10, 12)
    kept = once(made)
    earliest: dict[tuple, int] = {}
    for user, item, time in zip(made.users, made.items, made.times):
        pair = int(made.user_ids[user]), int(made.item_ids[item])
        earliest[pair] = min(earliest.get(pair, 1000), int(time))
    found = {
        (int(kept.user_ids[user]), int(kept.item_ids[item])): int(time)
        for user, item, time in zip(kept.users, kept.items, kept.times)
    }
    assert found == earliest and len(kept) == len(earliest)


@pytest.mark.parametrize("least", ((3, 3), (2, 5), (1, 4), (6, 1)))
def test_the_core_is_the_largest_there_is(least):
    """Against taking one user or item away after the other."""
    made = once(_drawn(260, 40, 50, seed=3))
    kept = core(made, *least)
    pairs = {(int(made.user_ids[user]), int(made.item_ids[item])) for user, item in zip(made.users, made.items)}
    while True:
        counts = [{}, {}]
        for pair in pairs:
            for side in (0, 1):
                counts[side][pair[side]] = counts[side].get(pair[side], 0) + 1
        few = {pair for pair in pairs if any(counts[side][pair[side]] < least[side] for side in (0, 1))}
        if not few:
            break
        pairs.remove(next(iter(few)))
    assert {(int(kept.user_ids[u]), int(kept.item_ids[i])) for u, i in zip(kept.users, kept.items)} == pairs
    assert len(kept.user_ids) == len({user for user, _ in pairs})


def test_steps_say_what_they_left():
    made, steps = _drawn(300, 20, 30), Steps()
    kept = steps.add("rated 4 or more", at_least_rated(steps.add("read", made), 4))
    assert steps.rows[1] == {
        "step": "rated 4 or more",
        "interactions": len(kept),
        "users": len(kept.user_ids),
        "items": len(kept.item_ids),
    }
    assert steps.lines()[1].startswith(f"rated 4 or more: {len(kept):,} interactions ({len(kept) - 300:+,})")
    with pytest.raises(InputError, match="^rated 9 or more: leaves no interaction"):
        steps.add("rated 9 or more", at_least_rated(made, 9))
