import pytest

from mde_fast.data import load_dataset

TRAIN = "0 0 1 2\n1 3 1\n2\n3 0 1 2 3 4\n"


def load(folder, **options):
    return load_dataset(folder, use_features=False, **options)


def pairs(split):
    return list(zip(split.users.tolist(), split.items.tolist()))


def test_three_files(write):
    folder = write({"shop/train.txt": TRAIN, "shop/valid.txt": "0 3\n1\n", "shop/test.txt": "1 5\n4 \n"})
    dataset = load(folder)
    assert (dataset.name, dataset.num_users, dataset.num_items, dataset.notes) == ("shop", 5, 6, ())
    assert pairs(dataset.train)[:5] == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 1)] and len(dataset.train) == 10
    assert pairs(dataset.valid) == [(0, 3)] and pairs(dataset.test) == [(1, 5)]
    assert load(folder / "train.txt").fingerprint == dataset.fingerprint


def test_without_valid_it_is_drawn_from_train(write):
    rows = "".join(f"{user} {' '.join(map(str, range(9)))}\n" for user in range(20))
    folder = write({"shop/train.txt": rows, "shop/test.txt": "0 9\n"})
    dataset = load(folder, split_seed=4)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (160, 20, 1)
    assert set(pairs(dataset.train)).isdisjoint(pairs(dataset.valid))
    expected = "split: no valid.txt; validation drawn from train.txt: random 0.8889/0.1111/0 per user, seed 4"
    assert dataset.notes == (expected,)


def test_one_file_is_split_whole(write):
    rows = "".join(f"{user} {' '.join(map(str, range(10)))}\n" for user in range(20))
    dataset = load(write({"shop/all.txt": rows}))
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (160, 20, 20)
    assert dataset.notes == ("split: none in all.txt; made one: random 0.8/0.1/0.1 per user, seed 0",)


@pytest.mark.parametrize(
    "text", [TRAIN.rstrip(), TRAIN.replace("\n", "\r\n"), TRAIN.replace(" ", "\t"), "\n" + TRAIN, "\ufeff" + TRAIN]
)
def test_white_space_does_not_matter(write, text):
    others = {"shop/valid.txt": "0 3\n", "shop/test.txt": "1 5\n"}
    expected = load(write({"shop/train.txt": TRAIN, **others})).fingerprint
    assert load(write({"shop/train.txt": text, **others})).fingerprint == expected


def test_a_user_on_two_lines(write):
    dataset = load(write({"s/train.txt": "0 1\n0 2\n", "s/valid.txt": "0 3", "s/test.txt": "0 0"}))
    assert pairs(dataset.train) == [(0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["row 1", "empty"]),
        (" \n\n", ["row 1", "empty"]),
        ("0 1\n\n1 two 3\n", ["row 3", "'two' is not an integer"]),
        ("0 1\n1 2.5\n", ["row 2", "'2.5'"]),
        ("0,1\n", ["row 1", "'0,1'"]),
        ("0 1\n1 3-4\n", ["row 2", "'3-4'"]),
        ("0 1\n1 -\n", ["row 2", "'-'"]),
        ("0 1\n1 --2\n", ["row 2", "'--2'"]),
        ("0 1\n1 2 -2\n", ["row 2", "item id -2 is negative"]),
        ("0 1\n-1 2\n", ["row 2", "user id -1 is negative"]),
        ("0 1\n1 123456789012345678901\n", ["row 2", "'123456789012345678901'"]),
        ("0 1\n1 123456789012\n", ["row 2", "item id 123456789012", "consecutive from 0", "CSV table"]),
        ("0 1\n1 \u00e9\n", ["row 2", "'\u00e9'"]),
        ("\ufeff0 1\n\ufeff1 2\n", ["row 2", "'\\ufeff1'"]),
    ],
)
def test_errors_name_the_row(write, refused, text, parts):
    with refused("train.txt", *parts):
        load(write({"shop/train.txt": text, "shop/test.txt": "0 1\n"}))


def test_missing_files(write, refused):
    with refused("train.txt but no test.txt", "all.txt"):
        load(write({"shop/train.txt": TRAIN}))
    with refused("valid.txt", "cannot be read"):
        write({"two/valid.txt/x": ""})
        load(write({"two/train.txt": TRAIN, "two/test.txt": "0 1\n"}))


def test_temporal_needs_times(write, refused):
    files = {"shop/train.txt": TRAIN, "shop/test.txt": "0 4\n"}
    with refused("temporal", "--split random"):
        load(write(files), split="temporal")
    dataset = load(write({**files, "shop/valid.txt": "1 4\n"}), split="temporal")
    assert dataset.notes == ("split: taken from valid.txt and test.txt; --split temporal has no effect",)


def test_nothing_held_out(write, refused):
    with refused("shop", "valid split is empty"):
        load(write({"shop/all.txt": "0 1\n1 2\n"}))
