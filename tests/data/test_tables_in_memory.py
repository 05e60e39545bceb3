"""DataFrames and Arrow tables are read as the Parquet files that they could be saved to."""

import numpy as np
import pyarrow as pa
import pytest

from mde_fast.data import load_dataset

COLUMNS = {
    "user": ["b", "a"] * 5,
    "item": [3, 1, 4, 1, 5, 9, 2, 6, 5, 3],
    "split": ["train"] * 6 + ["valid", "test"] * 2,
}


def frame_of_pandas(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


def frame_of_polars(columns):
    return pytest.importorskip("polars").DataFrame(columns)


class Exchanged:
    """A table that knows the older protocol alone, as DataFrames of some libraries do."""

    def __init__(self, columns):
        self._table = pa.table(columns)

    def __dataframe__(self, *args, **options):
        return self._table.__dataframe__(*args, **options)


def batch(columns):
    return pa.RecordBatch.from_pydict(columns)


@pytest.fixture(params=[pa.table, batch, Exchanged, frame_of_pandas, frame_of_polars], ids=lambda make: make.__name__)
def make(request):
    """make({column: values}) -> a table of some library."""
    request.param(COLUMNS)
    return request.param


@pytest.fixture
def on_disk(write):
    lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in zip(*COLUMNS.values()))]
    return load_dataset(write({"shop/shop.csv": "\n".join(lines)}), use_features=False)


def test_interactions(make, on_disk):
    dataset = load_dataset(make(COLUMNS), name="shop", use_features=False)
    assert dataset.fingerprint == on_disk.fingerprint and dataset.notes == on_disk.notes
    assert (dataset.name, dataset.data) == ("shop", "real")


def test_features(make, refused):
    """Matched by item, whatever type its id has there."""
    items = sorted(set(COLUMNS["item"]))
    keys = {"float": np.array(items[::-1], dtype=float), "text": list(map(str, items[::-1]))}
    features = {name: make({"item": ids, "f": [10.0 * item for item in items[::-1]]}) for name, ids in keys.items()}
    dataset = load_dataset(make(COLUMNS), name="shop", features=features)
    assert dataset.data == "real" and list(dataset.features) == ["float", "text"]
    for matrix in dataset.features.values():
        assert matrix.tolist() == [[10.0 * item] for item in items]
    with refused("image: 1 rows for 7 items, none for '2'"):
        load_dataset(make(COLUMNS), name="shop", features={"image": make({"item": [1], "f": [0.5]})})


def test_features_on_disk(make, write, monkeypatch, refused):
    monkeypatch.chdir(write({"here/image.npy": np.eye(7), "here/few.npy": np.eye(3)}))
    dataset = load_dataset(make(COLUMNS), name="shop", features={"image": "image.npy"})
    assert (dataset.features["image"] == np.eye(7)).all() and "row 0 is item 1" in dataset.notes[-1]
    with refused("few.npy: 3 rows for 7 items"):
        load_dataset(make(COLUMNS), name="shop", features={"image": "few.npy"})
    with refused("none.npy: cannot be read"):
        load_dataset(make(COLUMNS), name="shop", features={"image": "none.npy"})


def test_without_features(make, refused):
    dataset = load_dataset(make(COLUMNS), name="shop")
    assert dataset.data == "stand-in features" and "features={modality: table}" in dataset.notes[-1]
    with refused("shop: no item features", "features={"):
        load_dataset(make(COLUMNS), name="shop", require_real=True)


def test_rows_are_named_as_frames_count_them(make, refused):
    with refused("shop: row 2 (from 0): no user id"):
        load_dataset(make({"user": ["a", "b", None], "item": [1, 2, 3]}), name="shop")
    with refused("shop: row 0 (from 0): user id 17.0 is an integer made a float", "Int64"):
        load_dataset(make({"user": [17.0, 3.0], "item": [1, 2]}), name="shop")
    with refused("shop: row 1 (from 0): no user id"):
        load_dataset(make({"user": [17.0, None], "item": [1, 2]}), name="shop")


def test_it_needs_a_name(make, refused):
    with refused("has no name of its own", "name="):
        load_dataset(make(COLUMNS))


def test_times_order_a_temporal_split(make):
    days = np.array(["2024-01-03", "2024-01-01", "2024-01-02"], dtype="datetime64[ms]")
    columns = {"user": ["a"] * 3, "item": [0, 1, 2], "time": days}
    if make is Exchanged:
        pytest.skip("this protocol has no times in Arrow's implementation")
    dataset = load_dataset(make(columns), name="shop", split="temporal", use_features=False)
    assert (dataset.train.items[0], dataset.valid.items[0], dataset.test.items[0]) == (1, 2, 0)


@pytest.mark.parametrize("other", [None, 3, ["a"], {"user": ["a"]}, np.eye(3)])
def test_what_is_no_table(refused, other):
    with refused(f"dataset of type {type(other).__name__}", "a path", "DataFrame"):
        load_dataset(other, name="shop")
    with refused(f"features image of type {type(other).__name__}", "DataFrame"):
        load_dataset(pa.table(COLUMNS), name="shop", features={"image": other})


def test_tables_that_cannot_be_read(make, refused):
    with refused("shop: has no rows"):
        load_dataset(make({"user": pa.array([], pa.string()), "item": pa.array([], pa.int64())}), name="shop")
    with refused("no item column found among: user, price", "--item-column"):
        load_dataset(make({"user": ["a"], "price": [1]}), name="shop")


def test_frames_of_pandas(refused):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS)
    expected = load_dataset(frame, name="shop", use_features=False)
    for same in (
        frame.astype({"user": "category", "split": "category"}),
        frame.set_index("user"),
        frame.astype("object"),
    ):
        assert load_dataset(same, name="shop", use_features=False).fingerprint == expected.fingerprint
    with refused("shop: cannot be read as a table", "column user"):
        load_dataset(pandas.DataFrame({"user": ["a", 1], "item": [1, 2]}), name="shop")
    with refused("shop: cannot be read as a table", "Duplicate column names"):
        load_dataset(pandas.DataFrame([[1, 2, 3]], columns=["user", "item", "item"]), name="shop")
    vectors = [np.array([item, 1.0]) for item in range(10)]
    dataset = load_dataset(frame, name="shop", features={"image": pandas.DataFrame({"item": range(10), "f": vectors})})
    assert dataset.features["image"][:, 0].tolist() == [1, 2, 3, 4, 5, 6, 9]


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(COLUMNS)
    expected = load_dataset(frame, name="shop", use_features=False)
    categories = frame.with_columns(polars.col("user", "split").cast(polars.Categorical))
    pieces = polars.concat([frame[:3], frame[3:]], rechunk=False)
    for same in (categories, pieces):
        assert load_dataset(same, name="shop", use_features=False).fingerprint == expected.fingerprint


def test_a_name_for_files_too(mmrec):
    assert load_dataset(mmrec(), name="other", use_features=False).name == "other"
    assert load_dataset("baby", name="other", use_features=False).name == "other"
