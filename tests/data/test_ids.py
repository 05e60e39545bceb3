"""Ids of tables: what they cost, how they are sorted, and which are refused because they are not what was meant."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mde_fast.data import load_dataset
from mde_fast.data.ids import cells_of


def load(place, **options):
    return load_dataset(place, use_features=False, **options)


def text(rows, header="user,item"):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def of_items(items):
    return text([("u", item) for item in items])


def table(tmp_path, **columns):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_fingerprints_of_old_runs(write, tmp_path):
    """A run folder is opened only with the data that it was trained on, so these must stay as they are."""
    words = ["SKU 10", "SKU 2", "é", "日本", "\U0010ffff", "\uffff", "0012", "12"]
    assert load(write({"a/a.csv": of_items(words)})).fingerprint == "78fc687cffaa3ea5adf0436f4fbbb62c"
    assert load(write({"b/b.csv": of_items([30, 4, -5, 10**15])})).fingerprint == "26f99a6576fb92ad3fbfdfb236da9348"
    days = [datetime.date(2024, 1, day) for day in (3, 1, 2)]
    assert load(table(tmp_path, user=["u"] * 3, item=days)).fingerprint == "f2e89191c232301e5b6515c1938b5dec"
    assert (
        load(table(tmp_path, user=[0.5, 0.5, 0.5], item=[b"x", b"y", b"z"])).fingerprint
        == "a26dfabeccedad3c513b8a66340799da"
    )
    inter = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n"
    assert load(write({"c/c.inter": inter})).fingerprint == "f8551e8dd1e7c0294afe64225c72207f"


def test_a_long_id_costs_its_own_length(write, tmp_path):
    items = [f"i{item}" for item in range(50_000)] + ["x" * 30_000]
    for dataset in (load(write({"a/a.csv": of_items(items)})), load(table(tmp_path, user=["u"] * 50_001, item=items))):
        assert dataset.item_ids.dtype == object  # in NumPy's strings all would be as long, 6 GB together
        assert dataset.item_ids.tolist() == sorted(items)


def test_text_sorts_by_code_points(write):
    items = ["b", "a", "Z", "é", "\uffff", "\U00010000", "ab", "a b", "~"]
    assert load(write({"a/a.csv": of_items(items)})).item_ids.tolist() == sorted(items)


def test_zeros_at_the_end_fill_up_text_of_fixed_width(tmp_path):
    assert load(table(tmp_path, user=["u"] * 3, item=["a\0\0", "b\0", "abc"])).item_ids.tolist() == ["a", "abc", "b"]


def test_a_second_header_is_refused(write, refused, tmp_path):
    first = text([("u1", f"i{item}") for item in range(5)], "user_id,item_id")
    for second in ("user_id,item_id", "\ufeffuser_id,item_id", "item_id,user_id", " user_id , item_id"):
        with refused("a.csv: row 7: is a header again", "remove the row"):
            load(write({"a/a.csv": first + second + "\nu2,i1\n"}))
    with refused("table.parquet: row 2: is a header again"):
        load(table(tmp_path, user=["u", "user"], item=["i", "item"]))
    named = text([("user", 1), ("user", 2), ("user", "x"), ("u", "item")])
    assert "user" in load(write({"a/a.csv": named})).user_ids.tolist()


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\ufeff"])
@pytest.mark.parametrize("item", ["i3", "3"])
def test_blanks_round_ids_of_csv_are_refused(write, refused, tmp_path, blank, item):
    for spoiled in (blank + item, item + blank, f'"{blank}{item}"'):
        with refused("a.csv: row 3: item id", "begins or ends with a blank", "remove the blanks", "Parquet"):
            load(write({"a/a.csv": of_items(["1", spoiled, item])}))
    kept = load(table(tmp_path, user=["u"] * 3, item=["a", item, blank + item]))
    assert kept.item_ids.tolist() == sorted(["a", item, blank + item])


def test_ids_of_csv_that_run_over_lines_are_refused(write, refused, tmp_path):
    """Nearly always a quote is left open; of the same ids in Parquet it is certain that they are meant so."""
    with refused("a.csv: row 3", r"item id '27 inch\nmonitor' runs over several lines", "close its quote", "Parquet"):
        load(write({"a/a.csv": of_items(["1", '"27 inch\nmonitor"', "3"])}))
    assert load(table(tmp_path, user=["u"] * 3, item=["a", "b\nc", "d"])).item_ids.tolist() == ["a", "b\nc", "d"]


def test_blanks_inside_of_ids_and_round_other_cells_stay(write):
    rows = [("u 1", 1, " train"), ("u 1", 2, " valid "), ("u 1", 3, "test ")]
    dataset = load(write({"a/a.csv": text(rows, " user , item , split ")}))
    assert dataset.user_ids.tolist() == ["u 1"] and len(dataset.train) == len(dataset.valid) == len(dataset.test) == 1


@pytest.mark.parametrize(
    ("items", "row"),
    [(["17.0", "3.0", "4.0"], 2), (["17", "3.0", "4"], 3), (["1.", "2", "-3"], 2), (["5", "1.7e+16", "3"], 3)],
)
def test_integers_made_floats_are_refused_in_csv(write, refused, items, row):
    with refused(f"a.csv: row {row}: item id '", "is an integer made a float", "astype('Int64')", "Parquet"):
        load(write({"a/a.csv": of_items(items)}))
    with refused("row 5", "no item id"):
        load(write({"a/a.csv": of_items([*items, ""])}))


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_integers_made_floats_are_refused_in_parquet(refused, tmp_path, kind):
    items = pa.array([17.0, 3.0, 4.0], kind)
    for column in (items, items.dictionary_encode()):
        with refused("table.parquet: row 1: item id 17.0 is an integer made a float", "astype('Int64')"):
            load(table(tmp_path, user=["u"] * 3, item=column))
    with refused("table.parquet: row 2: no item id"):
        load(table(tmp_path, user=["u"] * 3, item=pa.array([17.0, None, 4.0], kind)))


@pytest.mark.parametrize(
    "items", [["1.0", "1.1", "2.0"], ["1.0", "2.0", "beta"], ["1e5", "2e3", "17"], ["0.5", "1", "2"]]
)
def test_other_ids_with_points_stay(write, tmp_path, items):
    assert load(write({"a/a.csv": of_items(items)})).item_ids.tolist() == sorted(items)
    as_text = load(table(tmp_path, user=["u"] * 3, item=["1.0", "2.0", "3.0"]))
    assert as_text.item_ids.tolist() == ["1.0", "2.0", "3.0"]


def test_quoted_numbers_are_numbers(write, mmrec, refused):
    assert load(write({"a/a.csv": of_items(['"17"', '"3"', 4])})).item_ids.tolist() == [3, 4, 17]
    with refused("shop.inter: row 2", "userID '\"0\"' is not an integer"):
        load(mmrec('userID\titemID\tx_label\n"0"\t"1"\t0\n'))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int64(), pa.date32()])
@pytest.mark.parametrize("index", [pa.int8(), pa.uint32(), pa.int64()])
def test_dictionaries_that_come_with_a_column(kind, index):
    """They may differ from chunk to chunk, hold values twice, values that no cell has, and the empty one."""
    values = [3, 1, 3, None, 9] if kind != pa.string() and kind != pa.large_string() else ["c", "a", "c", None, "z"]
    chunk = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3, None, 0], index), pa.array(values, kind))
    other = pa.DictionaryArray.from_arrays(pa.array([0], index), pa.array([values[1]], kind))
    cells = cells_of(pa.chunked_array([chunk, other]))
    plain = pa.array([values[at] for at in (0, 1, 2, 3, 3, 0, 1)], kind).to_pylist()
    assert [cells.value(row) for row in range(7)] == plain
    assert sorted(cells.values.to_pylist()) == sorted(set(plain) - {None})
    assert cells.first(np.ones(2, dtype=bool)) == 0 and cells.first(np.zeros(2, dtype=bool)) is None
