"""A quote left open in a CSV file swallows the rows that follow; cells that rightly run over lines do not."""

import random
import time

import pytest

from mde_fast.data import load_dataset


def rows(count=404):
    draw = random.Random(0)
    return [f"u{draw.randrange(40)},i{draw.randrange(30)},title {row}" for row in range(count)]


@pytest.fixture
def load(write):
    """load({row: text, ...}) reads a CSV of 404 rows, some of which (by their number, from 2) are replaced."""

    def load(changes, count=404):
        lines = rows(count)
        for row, text in changes.items():
            lines[row - 2] = text
        text = "\n".join(["user,item,title", *lines]) + "\n"
        return load_dataset(write({"shop/a.csv": text}) / "a.csv", use_features=False)

    return load


def test_it_is_refused_with_the_row_where_it_opens(load, refused):
    for last in (404, 403):
        with refused("a.csv: row 8: a quote opens here", f"runs on to row {last + 1}", "close it"):
            load({8: 'u8,i3,"27 inch monitor'}, last)
    with refused("a.csv: row 8: a quote opens here"):
        load({8: 'u8,"27 inch monitor,x'})
    with refused("row 8: a quote opens here", "runs on to row 60"):
        load({8: 'u8,i3,"27 inch monitor', 60: 'u9,i4,"fine, really"'})


@pytest.mark.parametrize("closing", [9, 10, 300])
def test_another_one_at_the_end_of_a_cell_does_not_hide_it(load, refused, closing):
    with refused(f"row 8: a quote opens here and closes in row {closing} only, but row 9 is a row of its own"):
        load({8: 'u8,i3,"27 inch monitor', closing: 'u9,i4,monitor of 27"'})


@pytest.mark.parametrize(
    "row",
    [
        'u8,i3,"several lines,\n\nwith commas, two,\nand ""quotes"", "',
        'u8,i3,"i3,\n1,2,3\nu8,i3\n"',
        'u8,i3,monitor of 27"',
        'u8,i3,"a 27" monitor"',
        'u8,i3, "a monitor',
        '"u8","i3","x"',
    ],
)
def test_cells_that_are_right_stay(load, row):
    assert load({8: row}).num_users == load({8: "u8,i3,x"}).num_users == 40
    assert load({8: row}).fingerprint == load({8: "u8,i3,x"}).fingerprint


def test_line_ends_and_blank_lines_are_no_sign_of_one(write):
    text = "\n".join(["user,item,title", *rows()]) + "\n"
    expected = load_dataset(write({"shop/a.csv": text}), use_features=False).fingerprint
    for changed in (text.replace("\n", "\r\n"), text.replace("\n", "\n\n"), "\ufeff" + text.rstrip("\n")):
        assert load_dataset(write({"shop/a.csv": changed}), use_features=False).fingerprint == expected


def test_in_a_large_file_it_is_found_soon(write, refused):
    lines = [f"u{row % 4000},item number {row % 3000}" for row in range(400_000)]
    start = time.perf_counter()
    for row, reason in ((1000, "does not close within 4,194,304 characters"), (399_000, "runs on to row 400001")):
        changed = lines.copy()
        changed[row - 2] = 'u8,"27 inch monitor'
        with refused(f"row {row}: a quote opens here", reason):
            load_dataset(write({"shop/a.csv": "\n".join(["user,item", *changed]) + "\n"}), use_features=False)
    assert time.perf_counter() - start < 10


def test_another_mistake_is_still_named(load, refused):
    with refused("row 11: 2 cells where the header has 3"):
        load({8: 'u8,i3,"over\nlines"', 10: "u8,i3"})
    with refused("row 405: 4 cells where the header has 3"):
        load({8: 'u8,i3,"fine"', 405: "u8,i3,4,5"})
