import io
import pickle
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mde_fast.data import load_dataset
from mde_fast.errors import InputError

RNG = np.random.default_rng(0)
CSV = "user,item,split\na,x,0\na,b,1\na,0012,2\n"


def matrix(rows=3, width=4, dtype=np.float32):
    return RNG.normal(size=(rows, width)).astype(dtype)


@pytest.fixture
def with_array(mmrec):
    """with_array(content) -> the MMRec folder of three items with that image_feat.npy."""

    def with_array(content):
        folder = mmrec()
        if isinstance(content, bytes):
            (folder / "image_feat.npy").write_bytes(content)
        else:
            np.save(folder / "image_feat.npy", content)
        return folder

    return with_array


@pytest.fixture
def with_parquet(write):
    """with_parquet(column=values, ...) -> a folder with a table of items 0012, b, x and that image.parquet."""

    def with_parquet(**columns):
        folder = write({"shop/interactions.csv": CSV})
        pyarrow.parquet.write_table(pa.table(columns), folder / "image.parquet")
        return folder

    return with_parquet


IMAGE_PARQUET = {"image": "image.parquet"}


def test_order_of_modalities(write, mmrec):
    folder = mmrec()
    stems = ["video_feat", "text_feat", "audio_feat", "image_feat", "extra", "user_graph_dict"]
    write({f"shop/{stem}.npy": matrix(width=2 + place) for place, stem in enumerate(stems)})
    features = load_dataset(folder).features
    assert {modality: array.shape for modality, array in features.items()} == {
        "image": (3, 5),
        "text": (3, 3),
        "audio": (3, 4),
        "video": (3, 2),
    }
    assert list(features) == ["image", "text", "audio", "video"]


def test_arrays_of_other_names(write, mmrec):
    folder = mmrec()
    write({"shop/whisper.npy": matrix(), "shop/MiniLM.npy": matrix(), "shop/user_graph_dict.npy": b"never opened"})
    for place in (folder, folder / "shop.inter"):
        assert list(load_dataset(place).features) == ["MiniLM", "whisper"]


def test_arrays_nobody_named_are_taken_only_with_a_row_for_each_item(write, mmrec):
    others = {"user_embeddings": matrix(5), "few": matrix(2), "prices": matrix()[:, 0], "ids": np.array(["a", None, 1])}
    files = {"image": matrix(), "text": matrix(), **others}
    for folder in (write({"table/interactions.csv": CSV}), mmrec()):
        write({f"{folder.name}/{stem}.npy": array for stem, array in files.items()})
        dataset = load_dataset(folder)
        assert list(dataset.features) == ["image", "text"]
        (note,) = [note for note in dataset.notes if "left out" in note]
        for stem, array in others.items():
            assert f"{stem}.npy of shape {array.shape}" in note
        assert "3 items" in note and "--features" in note


def test_no_stand_in_takes_the_place_of_arrays_that_do_not_fit(write, refused):
    folder = write({"shop/interactions.csv": CSV, "shop/image.npy": matrix(5), "shop/text.npy": matrix(2)})
    with refused("shop: no item features", "3 items", "image.npy of shape (5, 4)", "text.npy", "--features NAME=FILE"):
        load_dataset(folder)
    assert load_dataset(folder, use_features=False).features == {}


def test_an_array_nobody_named_that_cannot_be_read_is_refused(write, mmrec, refused):
    folder = mmrec()
    for content in (b"", pickle.dumps({"a": 1}), npy(matrix())[:20], npy(matrix())[:-5]):
        write({"shop/text.npy": matrix(), "shop/image.npy": content})
        with refused("image.npy"):
            load_dataset(folder)


def test_arrays_beside_a_table_named_itself(write):
    folder = write({"shop/a.csv": CSV, "shop/holiday.npy": matrix()})
    assert list(load_dataset(folder).features) == ["holiday"]
    assert load_dataset(folder / "a.csv").data == "stand-in features"
    write({"shop/image_feat.npy": matrix()})
    assert list(load_dataset(folder / "a.csv").features) == ["image"]


def test_files_given_by_the_user(write, mmrec, tmp_path, refused):
    folder, first, second = mmrec(), matrix(), matrix()
    write({"shop/image_feat.npy": matrix(), "shop/a.npy": first, "other/b.npy": second})
    features = load_dataset(folder, features={"text": "a.npy", "image": tmp_path / "other/b.npy"}).features
    assert list(features) == ["text", "image"]
    assert (features["text"] == first).all() and (features["image"] == second).all()
    with refused("none.npy", "cannot be read", "No such file"):
        load_dataset(folder, features={"image": "none.npy"})
    with refused("none.npy", "--features image=none.npy", f"relative to the dataset's folder {folder}", "absolute"):
        load_dataset(folder, features={"image": "none.npy"})
    with refused("shop.inter", ".npy or .parquet"):
        load_dataset(folder, features={"image": "shop.inter"})
    with refused("cannot be read", "irectory"):
        load_dataset(write({"shop/dir.npy/x": ""}).parent, features={"image": "dir.npy"})


def test_a_path_from_the_current_folder_is_refused_with_the_one_to_give(write, refused, monkeypatch, tmp_path):
    write({"csvs/a.csv": CSV, "csvs/image.npy": matrix(), "elsewhere/text.npy": matrix()})
    monkeypatch.chdir(tmp_path)
    with refused("csvs/csvs/image.npy: cannot be read", "relative to the dataset's folder csvs", "image=image.npy"):
        load_dataset("csvs/a.csv", features={"image": "csvs/image.npy"})
    with refused("csvs/elsewhere/text.npy", "give text=../elsewhere/text.npy"):
        load_dataset("csvs/a.csv", features={"text": "elsewhere/text.npy"})
    assert list(load_dataset("csvs/a.csv", features={"text": "../elsewhere/text.npy"}).features) == ["text"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_types_stay(with_array, dtype):
    array = matrix(dtype=dtype)
    image = load_dataset(with_array(array)).features["image"]
    assert image.dtype == dtype and (image == array).all()


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_become_float32(with_array, dtype):
    array = np.eye(3, 4).astype(dtype)
    image = load_dataset(with_array(array)).features["image"]
    assert image.dtype == np.float32 and (image == array).all()


def test_layout_and_byte_order_become_native(with_array):
    array = matrix()
    for stored in (np.asfortranarray(array), array.astype(">f4")):
        image = load_dataset(with_array(stored)).features["image"]
        assert image.dtype.isnative and image.flags.c_contiguous and (image == array).all()


def test_rows_beyond_the_items_are_noted(with_array):
    array = matrix(5)
    array[4] = np.nan
    dataset = load_dataset(with_array(array))
    assert dataset.notes == ("image: 2 of 5 rows in image_feat.npy belong to no item",)
    assert (dataset.features["image"] == array[:3]).all()


def test_rows_beyond_the_items_of_a_table_are_refused(write, refused):
    """They tell that the rows are those of a catalogue, in its order."""
    folder = write({"shop/a.csv": CSV, "shop/image_feat.npy": matrix(5)})
    for features in (None, {"image": "image_feat.npy"}):
        with refused("image_feat.npy: 5 rows for the 3 items", "sorted order", "Parquet"):
            load_dataset(folder, features=features)


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def spoiled(value):
    array = matrix(dtype=np.float64 if value in (1e300, -1e39) else np.float16)
    array[2, 3] = value
    return array


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (matrix(2), ["2 rows for 3 items"]),
        (matrix(3)[:, 0], ["shape (3,)", "2-D"]),
        (matrix(3)[:, :, None], ["shape (3, 4, 1)", "2-D"]),
        (matrix(3, 0), ["shape (3, 0)"]),
        (np.array(1.5), ["shape ()"]),
        (spoiled(np.nan), ["item 2 (item row 2, from 0)", "NaN or infinity"]),
        (spoiled(-np.inf), ["item 2", "NaN or infinity"]),
        (spoiled(1e300), ["item 2 (item row 2, from 0)", "1e+300, too large for float32", "scale"]),
        (spoiled(-1e39), ["item 2", "-1e+39, too large for float32"]),
        (np.zeros((3, 4)), ["constant"]),
        (np.tile(matrix(1), (3, 1)), ["constant"]),
        (np.full((3, 4), 1j), ["complex128"]),
        (np.full((3, 4), "a"), ["<U1"]),
        (npy(np.array([[None] * 4] * 3)), ["pickle", "never loaded", "plain float array"]),
        (pickle.dumps({"a": 1}), ["pickle", "never loaded", "plain float array"]),
        (b"", ["not a .npy file"]),
        (b"not an array", ["not a .npy file"]),
        (npy(matrix())[:-5], ["truncated"]),
        (npy(matrix())[:20], ["truncated"]),
        (npy(matrix())[:8], ["truncated"]),
        (npy(matrix()).replace(b"descr", b"d\0scr"), ["damaged"]),
    ],
)
def test_unusable_arrays(with_array, refused, content, parts):
    with refused("image_feat.npy", *parts):
        load_dataset(with_array(content))


def test_checks_are_quick(with_array):
    array = np.zeros((3, 8_000_000), dtype=np.float16)
    array[0, -1] = 1
    folder = with_array(array)
    start = time.process_time()
    load_dataset(folder)
    assert time.process_time() - start < 1


def test_rows_of_arrays_follow_the_sorted_ids_of_a_table(write):
    array = matrix()
    dataset = load_dataset(write({"shop/a.csv": CSV, "shop/text_feat.npy": array}))
    assert dataset.item_ids.tolist() == ["0012", "b", "x"]
    assert (dataset.features["text"] == array).all()


def test_the_order_of_rows_is_noted_for_a_table_alone(write, mmrec, with_parquet):
    rows = "".join(f"a,SKU {item},{min(item, 2)}\n" for item in range(12))
    files = {"shop2/interactions.csv": "user,item,split\n" + rows}
    folder = write({**files, "shop2/image_feat.npy": matrix(12), "shop2/text_feat.npy": matrix(12)})
    (note,) = [note for note in load_dataset(folder).notes if note.startswith("features")]
    assert note.startswith(
        "features: in image_feat.npy, text_feat.npy row 0 is item 'SKU 0', the first of the ids in sorted order, row 1 "
        "is item 'SKU 1', row 11 is item 'SKU 9'"
    )
    assert "\n" not in note and "Parquet" in note
    folder = with_parquet(item=ITEMS, f=[1, 2, 3])
    assert not any("sorted" in note for note in load_dataset(folder, features=IMAGE_PARQUET).notes)
    write({"shop/image_feat.npy": matrix()})
    assert load_dataset(mmrec()).notes == ()


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 2), pa.list_(pa.float64()), pa.list_(pa.int16())])
def test_parquet_of_lists(with_parquet, kind):
    folder = with_parquet(vector=pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], kind), item=["x", "other", "0012", "b"])
    dataset = load_dataset(folder, features=IMAGE_PARQUET)
    image = dataset.features["image"]
    assert image.tolist() == [[5, 6], [7, 8], [1, 2]]
    assert image.dtype == (np.float64 if kind == pa.list_(pa.float64()) else np.float32)
    assert dataset.notes[-1] == "image: 1 of 4 rows in image.parquet belong to no item"


def test_parquet_of_numeric_columns(with_parquet):
    columns = {"f0": pa.array([1, 3, 5], pa.float32()), "asin": ["x", "b", "0012"], "title": ["t"] * 3}
    folder = with_parquet(**columns, f1=pa.array([2, 4, 6], pa.float32()))
    image = load_dataset(folder, features=IMAGE_PARQUET).features["image"]
    assert image.tolist() == [[5, 6], [3, 4], [1, 2]] and image.dtype == np.float32


def test_parquet_for_row_numbers_and_named_column(mmrec):
    folder = mmrec("u\twhat\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n")
    table = pa.table({"what": pa.array(["2", "1", "0"]).dictionary_encode(), "vector": [[3.0], [2.0], [1.0]]})
    pyarrow.parquet.write_table(table, folder / "image.parquet")
    options = {"user_column": "u", "item_column": "what", "features": IMAGE_PARQUET}
    assert load_dataset(folder, **options).features["image"].tolist() == [[1], [2], [3]]


ITEMS = ["x", "b", "0012"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int8(), pa.binary())])
def test_item_ids_of_bytes_are_matched_as_text(with_parquet, kind):
    keys = pa.array([item.encode() for item in ITEMS], kind.value_type if pa.types.is_dictionary(kind) else kind)
    folder = with_parquet(item=keys.dictionary_encode() if pa.types.is_dictionary(kind) else keys, f=[1, 2, 3])
    assert load_dataset(folder, features=IMAGE_PARQUET).features["image"].tolist() == [[3], [2], [1]]


@pytest.fixture
def with_numbers(write):
    """with_numbers(item=ids, ...) -> a folder with a table of the items 3, 17 and 100 and that image.parquet."""

    def with_numbers(**columns):
        folder = write({"shop/interactions.csv": "user,item,split\na,100,0\na,3,1\na,17,2\n"})
        pyarrow.parquet.write_table(pa.table(columns), folder / "image.parquet")
        return folder

    return with_numbers


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_item_ids_that_were_made_floats_are_matched_as_the_integers(with_numbers, kind):
    folder = with_numbers(item=np.array([17, 2.5, 3, 100], dtype=kind), f=[1, 2, 3, 4])
    dataset = load_dataset(folder, features=IMAGE_PARQUET)
    assert dataset.item_ids.tolist() == [3, 17, 100]
    assert dataset.features["image"].tolist() == [[3], [1], [4]]


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (["17.0", "3.0", "100.0"], ["0 rows for 3 items, none for '3'", "the first is of item '17.0'"]),
        (["017", "3", "100"], ["2 rows for 3 items, none for '17'"]),
        ([17.0, 3.0, 17.0, 100.0], ["row 3", "item id 17.0 appears twice"]),
        ([17.0, None, 3.0, 100.0], ["row 2", "no item id"]),
        ([17.0, 3.0, 100.0, 2.0**53], ["row 4", "9007199254740992.0 is a float too large to be exact"]),
        (pa.array([17.0, 2.0**24, 3.0, 100.0], pa.float32()), ["row 2", "16777216.0 is a float too large"]),
    ],
)
def test_item_ids_that_could_be_mistaken_are_refused(with_numbers, refused, keys, parts):
    with refused("image.parquet", *parts):
        load_dataset(with_numbers(item=keys, f=list(range(len(keys)))), features=IMAGE_PARQUET)


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"name": ITEMS, "f": [1, 2, 3]}, ["no item column", "name, f", "--item-column"]),
        ({"item": ITEMS}, ["numeric columns"]),
        ({"item": ITEMS, "title": ITEMS}, ["numeric columns"]),
        ({"item": ITEMS, "a": [[1.0]] * 3, "b": [[1.0]] * 3}, ["one column of lists"]),
        ({"item": ITEMS, "a": [["1"]] * 3}, ["lists of string"]),
        ({"item": ["x", "b", "b"], "f": [1, 2, 3]}, ["row 3", "'b' appears twice"]),
        ({"item": [b"x", b"\xff", b"0012"], "f": [1, 2, 3]}, ["row 2", "UTF-8"]),
        ({"item": ITEMS, "f": [1.0, 1e300, 3.0]}, ["item 'b' (item row 1, from 0)", "too large for float32"]),
        ({"item": ["x", "b", "c"], "f": [1, 2, 3]}, ["2 rows for 3 items", "'0012'"]),
        ({"item": ["x", None, "0012"], "f": [1, 2, 3]}, ["row 2", "no item id"]),
        ({"item": ITEMS, "f": [1, None, 3]}, ["row 2", "empty feature"]),
        ({"item": ITEMS, "f": [1.0, 2.0, np.nan]}, ["item '0012' (item row 0, from 0)", "NaN"]),
        ({"item": ITEMS, "f": [[1, 2], [3], [4, 5]]}, ["row 2", "1 features where row 1 has 2"]),
        ({"item": ITEMS, "f": [[1, 2], None, [4, 5]]}, ["row 2", "0 features where row 1 has 2"]),
        ({"item": ITEMS, "f": [[1, 2], [3, None], [4, 5]]}, ["row 2", "empty feature"]),
        ({"item": ITEMS, "f": [1, 1, 1]}, ["constant"]),
    ],
)
def test_unusable_parquet(with_parquet, refused, columns, parts):
    with refused("image.parquet", *parts):
        load_dataset(with_parquet(**columns), features=IMAGE_PARQUET)


def test_a_file_that_is_no_parquet(write, refused):
    folder = write({"shop/interactions.csv": CSV, "shop/image.parquet": "item,f\n"})
    with refused("image.parquet", "not a Parquet file"):
        load_dataset(folder, features=IMAGE_PARQUET)


def test_without_features(mmrec, refused):
    folder = mmrec()
    dataset = load_dataset(folder)
    assert dataset.data == "stand-in features" and dataset.features["image"].shape[0] == 3
    with refused("shop", "image_feat.npy", "--features"):
        load_dataset(folder, require_real=True)
    dataset = load_dataset(folder, require_real=True, use_features=False)
    assert dataset.data == "real" and dataset.features == {}


def test_mapped_features_are_the_file(with_array):
    """The same numbers, of which none were read into memory of this process's own; writing does not reach the file."""
    content = matrix()
    folder = with_array(content)
    (found,) = load_dataset(folder, map_features=True).features.values()
    np.testing.assert_array_equal(found, content)
    base = found
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    found[0] = 0
    (again,) = load_dataset(folder).features.values()
    np.testing.assert_array_equal(again, content)


def test_a_mapped_pickle_is_refused(with_array):
    array = np.array([{"image": 1}, None, 3], dtype=object)
    with pytest.raises(InputError, match="pickle"):
        load_dataset(with_array(array), map_features=True)
