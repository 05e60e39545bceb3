import os
import time

import numpy as np
import pytest

from mde_fast.data import load_dataset


def load(folder, **options):
    return load_dataset(folder, use_features=False, **options)


def pairs(split):
    return list(zip(split.users.tolist(), split.items.tolist()))


def test_reads_the_split_of_the_file(mmrec):
    dataset = load(mmrec())
    assert (dataset.name, dataset.data, dataset.num_users, dataset.num_items) == ("shop", "real", 2, 3)
    assert pairs(dataset.train) == [(0, 0), (1, 0), (1, 2)]
    assert pairs(dataset.valid) == [(0, 1)]
    assert pairs(dataset.test) == [(0, 2), (1, 1)]
    assert dataset.user_ids.tolist() == [0, 1] and dataset.item_ids.tolist() == [0, 1, 2]
    assert dataset.notes == ()


@pytest.mark.parametrize(
    "header",
    [
        "x_label\trating\titemID\tuserID",
        "x_label:float\tr:float\titem_id:token\tuser_id:token",
        "Split\t\tITEM\tuser-id",
    ],
)
def test_columns_in_any_order_and_spelling(mmrec, header):
    rows = "0\t1.5\t0\t0\n0\tbad\t1\t0\n1\t\t2\t0\n2\t0\t3\t0\n"
    dataset = load(mmrec(f"{header}\n{rows}"))
    assert pairs(dataset.train) == [(0, 0), (0, 1)] and pairs(dataset.test) == [(0, 3)]


def test_named_columns(mmrec):
    folder = mmrec("who\twhat\tpart\n0\t0\t0\n0\t1\t1\n0\t2\t2\n")
    assert pairs(load(folder, user_column="who", item_column="what", split_column="part").valid) == [(0, 1)]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip(),
    ],
)
def test_line_ends_byte_order_mark_and_blank_lines(mmrec, change):
    expected = load(mmrec()).fingerprint
    text = (mmrec() / "shop.inter").read_text()
    assert load(mmrec(change(text))).fingerprint == expected


def test_without_x_label_the_rule_splits(mmrec):
    folder = mmrec("userID\titemID\n" + "".join(f"{user}\t{item}\n" for user in range(5) for item in range(10)))
    dataset = load(folder, split_ratios=(0.6, 0.2, 0.2), split_seed=7)
    assert [len(split) for split in (dataset.train, dataset.valid, dataset.test)] == [30, 10, 10]
    assert dataset.notes == ("split: none in shop.inter; made one: random 0.6/0.2/0.2 per user, seed 7",)


def test_temporal_split(mmrec, refused):
    folder = mmrec("userID\titemID\ttimestamp\n0\t0\t30\n0\t1\t10\n0\t2\t20\n")
    dataset = load(folder, split="temporal")
    assert pairs(dataset.train) == [(0, 1)] and pairs(dataset.valid) == [(0, 2)] and pairs(dataset.test) == [(0, 0)]
    with refused("shop.inter", "--time-column", "userID, itemID"):
        load(mmrec("userID\titemID\n0\t0\n"), split="temporal")


def test_temporal_with_a_split_in_the_file_is_noted(mmrec):
    assert load(mmrec(), split="temporal").notes == ("split: taken from x_label; --split temporal has no effect",)


def test_a_held_out_pair_that_is_a_training_one_too_is_noted(mmrec):
    """It stays, as with MMRec: the metrics are those of the file."""
    dataset = load(mmrec("userID\titemID\tx_label\n0\t0\t0\n0\t1\t0\n0\t1\t1\n0\t2\t1\n0\t0\t2\n"))
    assert [len(split) for split in (dataset.train, dataset.valid, dataset.test)] == [2, 2, 1]
    assert [note.partition(";")[0] for note in dataset.notes] == [
        "valid: 1 interactions are training ones too",
        "test: 1 interactions are training ones too",
    ]


def test_a_time_column_that_is_not_needed_is_not_looked_for(mmrec):
    assert load(mmrec(), time_column="timestamp").notes == ()


def test_only_inter_of_another_name(write, mmrec):
    text = (mmrec() / "shop.inter").read_text()
    assert load(write({"v2/shop.inter": text})).name == "v2"
    assert load(write({"v3/shop.inter": text}) / "shop.inter").name == "shop"


HEAD = "userID\titemID\tx_label\n0\t0\t0\n\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["row 1", "empty"]),
        ("userID\titemID\tx_label\n", ["no interactions"]),
        ("userID\titemID\tx_label\n\n\n", ["no interactions"]),
        ("userID,itemID,x_label\n0,0,0\n", ["row 1", "separate the columns by tabs"]),
        ("0\t1\t0\n0\t2\t0\n", ["row 1", "no user column", "--user-column"]),
        ("userID\trating\tx_label\n0\t1\t0\n", ["row 1", "no item column", "userID, rating, x_label", "--item-column"]),
        ("userID\titemID\titemID\n0\t1\t0\n", ["row 1", "'itemID' appears twice"]),
        (HEAD + "1\tx\t0\n", ["row 4", "itemID 'x' is not an integer"]),
        (HEAD + "\t1\t0\n", ["row 4", "userID '' is not an integer"]),
        (HEAD + "1.0\t1\t0\n", ["row 4", "userID '1.0' is not an integer"]),
        (HEAD + "NaN\t1\t0\n", ["row 4", "userID 'NaN' is not an integer"]),
        (HEAD + "9" * 20 + "\t1\t0\n", ["row 4", "CSV table"]),
        (HEAD + "1\t1\n", ["row 4", "2 cells", "3"]),
        (HEAD + "1\t1\t0\t0\n", ["row 4", "4 cells", "3"]),
        (HEAD + "1\t-1\t0\n", ["row 4", "item id -1 is negative", "CSV table"]),
        (HEAD + "1\t1\t3\n", ["row 4", "x_label '3'", "0, 1, 2"]),
        (HEAD + "1\t1\t\n", ["row 4", "x_label ''"]),
        (HEAD + "500000000\t1\t0\n", ["row 4", "user id 500000000", "consecutive from 0", "CSV table"]),
        (HEAD + "1\t2000000\t0\n", ["row 4", "item id 2000000", "CSV table"]),
        (HEAD.encode() + b"1\t1\t\xff\n", ["row 4", "UTF-8"]),
        (HEAD, ["shop", "valid split is empty"]),
    ],
)
def test_errors_name_the_row(mmrec, refused, text, parts):
    with refused("shop", *parts):
        load(mmrec(text))


def test_a_bad_row_far_down_is_named_exactly(mmrec, refused):
    lines = ["userID\titemID\tx_label", *(f"{row % 999}\t{row % 555}\t{row % 3}" for row in range(300_000))]
    lines[250_001] = "5\tfive\t0"
    with refused("row 250002", "'five'"):
        load(mmrec("\n".join(lines)))
    lines[250_001] = "5\t5"
    with refused("row 250002", "2 cells"):
        load(mmrec("\n".join(lines)))


def test_named_columns_that_are_not_there(mmrec, refused):
    with refused("'userid'", "--user-column", "userID, itemID, x_label", "did you mean 'userID'?"):
        load(mmrec(), user_column="userid")
    with refused("'itemID' cannot be both user and item", "--item-column"):
        load(mmrec(), user_column="itemID")


def test_a_folder_in_place_of_the_file(write, refused):
    folder = write({"shop/shop.inter/x": ""}).parent
    with refused("no interactions among its files"):
        load(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read any file")
def test_a_file_without_permission(mmrec, refused):
    file = mmrec() / "shop.inter"
    file.chmod(0)
    with refused("shop.inter", "cannot be read", "ermission"):
        load(file)


def test_items_of_which_nothing_is_known_are_noted(mmrec):
    """Ids are row numbers, so a gap in them is a gap in the rows."""
    rows = "".join(f"{user}\t{item}\n" for user in range(3) for item in [*range(1, 20), 3000])
    folder = mmrec("userID\titemID\n" + rows)
    for dataset in (load(folder), load_dataset(folder)):
        assert dataset.num_items == 3001
        assert dataset.notes[-1].startswith("2,981 of 3,001 item rows have neither interactions nor features")
        assert not dataset.items_with_content.any()  # what was made up is no content
        assert (np.flatnonzero(~dataset.items_without_interactions) == [*range(1, 20), 3000]).all()
    features = np.zeros((3001, 4), dtype=np.float32)
    features[[0, 2, 50]] = 1
    np.save(folder / "image_feat.npy", features)
    dataset = load_dataset(folder)
    assert dataset.notes[-1].startswith("2,979 of 3,001 item rows")
    assert np.flatnonzero(dataset.items_with_content).tolist() == [0, 2, 50]
    np.save(folder / "image_feat.npy", features + np.arange(1, 5))
    assert not any("item rows" in note for note in load_dataset(folder).notes)


def test_reads_quickly(mmrec):
    """A file of Clothing's size."""
    rng = np.random.default_rng(0)
    columns = [rng.integers(high, size=278_677).tolist() for high in (39_387, 23_033, 3)]
    rows = "\n".join(map("{}\t{}\t{}".format, *columns))
    folder = mmrec(f"userID\titemID\tx_label\n{rows}\n")
    start = time.process_time()
    dataset = load(folder)
    assert time.process_time() - start < 2
    assert dataset.num_items == 23_033
