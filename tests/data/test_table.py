import datetime
import time
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mde_fast.data import load_dataset

ROWS = [("b", 30, "train"), ("b", 4, "train"), ("b", 5, "valid"), ("a", 30, "train"), ("a", 4, "test")]


def csv(header="user,item,split", rows=ROWS, separator=","):
    lines = [header.replace(",", separator), *(separator.join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


def load(place, **options):
    return load_dataset(place, use_features=False, **options)


def by_id(dataset, part):
    split = getattr(dataset, part)
    return list(zip(dataset.user_ids[split.users].tolist(), dataset.item_ids[split.items].tolist()))


@pytest.fixture
def parquet(tmp_path):
    """parquet(column=values, ...) -> a folder with interactions.parquet."""

    def parquet(**columns):
        folder = tmp_path / "shop"
        folder.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pa.table(columns), folder / "interactions.parquet")
        return folder

    return parquet


@pytest.mark.parametrize("name", ["interactions.csv", "sales.csv", "sales.tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(write, name, separator):
    folder = write({f"shop/{name}": csv(separator=separator)})
    dataset = load(folder)
    assert dataset.name == "shop" and dataset.data == "real"
    assert dataset.user_ids.tolist() == ["a", "b"] and dataset.item_ids.tolist() == [4, 5, 30]
    assert by_id(dataset, "train") == [("b", 30), ("b", 4), ("a", 30)]
    assert by_id(dataset, "valid") == [("b", 5)] and by_id(dataset, "test") == [("a", 4)]
    assert dataset.notes == ("columns: user 'user', item 'item', split 'split'",)
    alone = load(folder / name)
    assert alone.name == name.split(".")[0] and alone.fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("userId,movieId,fold", ("userId", "movieId", "fold")),
        ("Customer ID,asin,SPLIT", ("Customer ID", "asin", "SPLIT")),
        ("user_id:token,product_id:token,x_label", ("user_id:token", "product_id:token", "x_label")),
    ],
)
def test_common_spellings(write, header, roles):
    notes = load(write({"shop/a.csv": csv(header)})).notes
    assert notes == ("columns: user {!r}, item {!r}, split {!r}".format(*roles),)


def test_named_columns(write, refused):
    place = write({"shop/a.csv": csv("who,what,part")})
    dataset = load(place, user_column="who", item_column="what", split_column="part")
    assert by_id(dataset, "test") == [("a", 4)]
    with refused("a.csv", "row 1", "who, what, part", "--user-column"):
        load(place)
    with refused("a.csv", "'wat'", "--item-column", "did you mean 'what'?"):
        load(place, user_column="who", item_column="wat")


@pytest.mark.parametrize(
    "ids",
    [
        ["0012", "12"],
        ["7", "x"],
        ["1", "+1"],
        ["9" * 25, "1"],
        ["NA", "null"],
        ["-0", "0"],
    ],
)
def test_ids_that_are_not_all_integers_stay_strings(write, ids):
    rows = [(user, item, part) for user in ids for item, part in enumerate(("train", "valid", "test"))]
    assert load(write({"shop/a.csv": csv(rows=rows)})).user_ids.tolist() == sorted(ids)


def test_integers_sort_as_numbers(write):
    rows = [(user, item, part) for user in (10, -9, 8) for item, part in enumerate(("train", "valid", "test"))]
    assert load(write({"shop/a.csv": csv(rows=rows)})).user_ids.tolist() == [-9, 8, 10]


def test_quoted_cells_with_separators_and_line_ends(write, refused):
    text = 'user,item,review,split\n"a, b",1,"fine\nreally",train\n"a, b",2,"""",valid\n"a, b",3,,test\n'
    assert load(write({"shop/a.csv": text})).user_ids.tolist() == ["a, b"]
    with refused("row 6", "no user id"):
        load(write({"shop/a.csv": text + ",3,,test\n"}))


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Train", "Validation", "TEST"), ("training", "dev", "testing"), (0, 1, 2)]
)
def test_words_of_the_split(write, parquet, words):
    rows = [("a", item, word) for item, word in enumerate(words)]
    csv_data = load(write({"other/a.csv": csv(rows=rows)}))
    parquet_data = load(parquet(user=["a"] * 3, item=[0, 1, 2], split=list(words)))
    for dataset in (csv_data, parquet_data):
        assert [by_id(dataset, part) for part in ("train", "valid", "test")] == [[("a", 0)], [("a", 1)], [("a", 2)]]


@pytest.mark.parametrize(
    "values",
    [
        ["30", "4", "5"],
        ["3e1", "4.5", "5"],
        ["2024-03-01", "2024-01-01", "2024-02-28"],
        ["2024-03-01 12:00:00", "2024-03-01 09:59:59.5", "2024-03-01 10:00:00"],
        ["2024-03-01T12:00:00Z", "2024-03-01T09:59:00Z", "2024-03-01T13:00:00+03:00"],
        ["1700000000000000003", "1700000000000000001", "1700000000000000002"],
    ],
)
def test_temporal_split(write, values):
    rows = [("a", item, moment) for item, moment in enumerate(values)]
    dataset = load(write({"shop/a.csv": csv("user,item,timestamp", rows)}), split="temporal")
    assert [by_id(dataset, part) for part in ("train", "valid", "test")] == [[("a", 1)], [("a", 2)], [("a", 0)]]
    assert dataset.notes[1] == "split: none in a.csv; made one: temporal 0.8/0.1/0.1 per user"


@pytest.mark.parametrize(
    "values",
    [
        [30, 4, 5],
        [3.0, 0.5, 1.0],
        [datetime.datetime(2024, 3, day) for day in (3, 1, 2)],
        [datetime.date(2024, 3, day) for day in (3, 1, 2)],
        [datetime.datetime(2024, 3, day, tzinfo=datetime.timezone.utc) for day in (3, 1, 2)],
        [datetime.datetime(9999, 12, day) for day in (31, 1, 2)],
        [datetime.date(9999, 12, day) for day in (31, 1, 2)],
        [datetime.timedelta(days=day) for day in (3, 1, 2)],
        ["2024-03-03", "2024-03-01", "2024-03-02"],
    ],
)
def test_temporal_split_of_parquet(parquet, values):
    dataset = load(parquet(user=["a"] * 3, item=[0, 1, 2], date=values), split="temporal")
    assert [by_id(dataset, part) for part in ("train", "valid", "test")] == [[("a", 1)], [("a", 2)], [("a", 0)]]


@pytest.mark.parametrize("bad", ["", "soon", "2024-02-30", "nan"])
def test_times_that_cannot_be_read(write, refused, bad):
    for values in (["1", "2", bad, "3"], ["2024-01-01", "2024-01-02", bad, "2024-01-03"]):
        rows = [("a", item, moment) for item, moment in enumerate(values)]
        with refused("a.csv", "row 4", f"time {bad!r}", "ISO"):
            load(write({"shop/a.csv": csv("user,item,time", rows)}), split="temporal")


def test_times_of_parquet_that_cannot_be_read(parquet, refused):
    for values in ([1, None, 2], [1.0, float("nan"), 2.0], ["2024-01-01", "x", "2024-01-02"]):
        with refused("interactions.parquet", "row 2", "time"):
            load(parquet(user=["a"] * 3, item=[0, 1, 2], time=values), split="temporal")
    with refused("interactions.parquet", "bool"):
        load(parquet(user=["a"] * 3, item=[0, 1, 2], time=[True, False, True]), split="temporal")


@pytest.mark.parametrize("kind", [pa.time64("us"), pa.time64("ns"), pa.time32("ms")])
def test_times_of_day_order_nothing(parquet, refused, kind):
    times = pa.array([datetime.time(hour) for hour in (3, 1, 2)], kind)
    with refused("interactions.parquet", "row 1", f"time column of type {kind}", "use numbers, or ISO dates"):
        load(parquet(user=["a"] * 3, item=[0, 1, 2], time=times), split="temporal")


def test_temporal_split_without_times(write, refused):
    with refused("a.csv", "no time column", "--time-column"):
        load(write({"shop/a.csv": csv("user,item,other")}), split="temporal")


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["0012", "é", "a" * 40], pa.string()),
        (["b", "a", "c"], pa.large_string()),
        (["12", "3", "4"], pa.dictionary(pa.int8(), pa.string())),
        ([5, -3, 2**62], pa.int64()),
        ([5, 3, 2**64 - 1], pa.uint64()),
        ([0.5, -1.5, 3.0], pa.float64()),
        ([datetime.date(2024, 1, day) for day in (3, 1, 2)], pa.date32()),
    ],
)
def test_parquet_keeps_ids_of_any_type(parquet, ids, kind):
    column = pa.array(np.repeat(np.array([*ids, None], dtype=object)[:3], 3).tolist(), kind)
    dataset = load(parquet(user=column, item=[0, 1, 2] * 3, split=[0, 1, 2] * 3))
    assert dataset.user_ids.tolist() == sorted(ids)
    assert by_id(dataset, "valid") == [(user, 1) for user in ids]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(2)])
def test_bytes_of_parquet_are_read_as_text(parquet, kind):
    users = pa.array([b"u1", b"u0", "é".encode()], kind)
    columns = {"item": [0, 1, 2] * 3, "split": [0, 1, 2] * 3}
    for column in (users, users.dictionary_encode()):
        dataset = load(parquet(user=column.take(np.repeat([0, 1, 2], 3)), **columns))
        assert dataset.user_ids.tolist() == ["u0", "u1", "é"]
        assert by_id(dataset, "valid") == [("u1", 1), ("u0", 1), ("é", 1)]


@pytest.mark.parametrize("bad", [b"\xff", uuid.UUID(int=256).bytes, uuid.UUID(int=2**128 - 1).bytes])
def test_bytes_of_parquet_that_are_no_text(parquet, refused, bad):
    for kind in (pa.binary(), pa.binary(len(bad))):
        users = pa.array([b"u" * len(bad), None, bad], kind)
        with refused("interactions.parquet", "row 3", "user id b'", "no UTF-8 text", "strings"):
            load(parquet(user=users, item=[0, 1, 2]))
    with refused("row 2", "no user id"):
        load(parquet(user=[b"a", b""], item=[0, 1]))


@pytest.mark.parametrize("bad", ["", "  "])
def test_missing_ids_of_csv(write, refused, bad):
    with refused("a.csv", "row 4", "no item id"):
        load(write({"shop/a.csv": csv(rows=[*ROWS[:2], ("b", bad, "test")])}))


@pytest.mark.parametrize("ids", [["a", None], [1, None], [1.0, float("nan")]])
def test_missing_ids_of_parquet(parquet, refused, ids):
    with refused("interactions.parquet", "row 2", "no user id"):
        load(parquet(user=ids, item=[0, 1]))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["row 1", "empty"]),
        ("user,item\n", ["no interactions"]),
        ("user,item,split\na,1\n", ["row 2", "2 cells"]),
        ("user,item,split\n\na,1,train\nb,1,later\n", ["row 4", "split 'later'", "train, valid, test", "rename"]),
        ("user,item,split\na,1,\n", ["row 2", "split ''"]),
        (b"user,item,split\na,1,train\n\xff,1,test\n", ["row 3", "UTF-8"]),
        ("user,item\na,1\na,2\n", ["valid split is empty"]),
    ],
)
def test_csv_errors(write, refused, text, parts):
    with refused("shop", *parts):
        load(write({"shop/a.csv": text}))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_csv_of_another_encoding_is_refused(write, refused, encoding):
    for separator in ",\t":
        with refused("a.csv: row 1: is not UTF-8 text; save the file as UTF-8"):
            load(write({"shop/a.csv": csv(separator=separator).encode(encoding)}))


def test_bytes_that_are_no_utf8_are_named_wherever_they_are(write, refused):
    with refused("row 1", "save the file as UTF-8"):
        load(write({"shop/a.csv": csv("user,item,split,caf\u00e9").encode("latin-1")}))
    lines = [f"a,{row},{min(row, 2)},title {row}" for row in range(100_000)]
    text = "\n".join(["\ufeffuser,item,split,title", *lines])
    assert load(write({"shop/a.csv": text.replace("title 7", "caf\u00e9 7")})).num_items == 100_000
    with refused("row 90002", "save the file as UTF-8"):
        load(write({"shop/a.csv": text.encode().replace(b"title 90000", b"caf\xe9")}))


def test_parquet_errors(parquet, write, refused):
    folder = parquet(user=["a"], item=[1], split=["later"])
    with refused("interactions.parquet", "row 1", "split 'later'"):
        load(folder)
    with refused("interactions.parquet", "row 1", "list"):
        load(parquet(user=[["a"]], item=[1]))
    with refused("interactions.parquet", "no rows"):
        load(parquet(user=pa.array([], pa.string()), item=pa.array([], pa.string())))
    with refused("interactions.parquet", "row 1", "split", "list"):
        load(parquet(user=["a"], item=[1], split=[["train"]]))
    with refused("interactions.parquet", "row 1", "split", "binary"):
        load(parquet(user=["a"], item=[1], split=[b"\xff"]))
    content = (folder / "interactions.parquet").read_bytes()
    for damaged in (b"", b"user,item\n1,2\n", content[: len(content) // 2], b"PAR1" + content[8:]):
        with refused("interactions.parquet"):
            load(write({"shop/interactions.parquet": damaged}))


def test_a_folder_in_place_of_a_table(write, refused):
    folder = write({"shop/a.parquet/x": ""})
    with refused("a.parquet", "no interactions"):
        load(folder)


def test_reads_quickly(write):
    rng = np.random.default_rng(0)
    rows = zip(rng.integers(39_387, size=278_677).tolist(), rng.integers(23_033, size=278_677).tolist())
    folder = write({"shop/a.csv": csv("user,item", ((f"u{user}", f"i{item}") for user, item in rows))})
    start = time.process_time()
    assert load(folder).num_users > 39_000
    assert time.process_time() - start < 3
