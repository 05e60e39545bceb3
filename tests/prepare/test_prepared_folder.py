"""``prepare`` from the command line: a folder that trains, its record, and going on after a stop."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from mde_fast.data import load_dataset
from mde_fast.errors import InputError
from mde_fast.prepare import encoding
from mde_fast.prepare.__main__ import main
from mde_fast.prepare.catalogue import read_catalogue
from mde_fast.prepare.encoders import LITE0, MINILM, image_encoder, text_encoder

SHOP = ["shop", "--interactions=orders.csv"]
WITH_TEXTS = [*SHOP, "--catalogue=products.csv"]


def _picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30), size=(90, 60)) -> None:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size, colour)
    ImageDraw.Draw(picture).ellipse((10, 10, 50, 40), fill=(0, 0, colour[0]))
    picture.save(path)


def test_the_folder_is_a_dataset(products, letters, prepared):
    main([*WITH_TEXTS, "--min-rating=2", "--k-core=2", "--split=temporal"])
    dataset = load_dataset("./shop", require_real=True)
    record = prepared("shop")
    assert dataset.data == "real" and dataset.features["text"].shape == (dataset.num_items, 19)
    assert len(dataset.train) == record["split"]["train"] and len(dataset.test) == record["split"]["test"]
    assert [step["step"] for step in record["steps"]] == [
        "read",
        "rated 2 or more",
        "each pair once",
        "users with 2 or more, items with 2 or more",
    ]
    assert record["steps"][0]["interactions"] == 104 and record["steps"][-1]["items"] == dataset.num_items
    assert record["modalities"]["text"] == {
        "encoder": "minilm, letters",
        "features": 19,
        "items": dataset.num_items,
        "missing": 0,
    }
    assert record["options"]["min_rating"] == 2 and record["catalogue"] == ["texts: 'title', 'description'"]
    assert sorted(path.name for path in Path("shop").iterdir()) == [
        "interactions.parquet",
        "prepare.json",
        "text_feat.npy",
    ]


def test_features_are_matched_by_id(products, letters):
    main(WITH_TEXTS)
    dataset = load_dataset("./shop")
    texts = dict(
        zip(range(25), (f"thing {n}" + (f". a fine, good thing, number {n}" if n % 5 else "") for n in range(25)))
    )
    for row, item in enumerate(dataset.item_ids):
        assert (dataset.features["text"][row] == letters.encode([texts[int(item[1:])]])[0]).all()


def test_the_split_is_the_one_that_is_said(products, letters, prepared):
    main([*SHOP, "--split=leave-one-out"])
    columns = pyarrow.parquet.read_table("shop/interactions.parquet").to_pydict()
    held = [user for user, part in zip(columns["user"], columns["split"]) if part == "test"]
    assert len(held) == len(set(held)) == len(set(columns["user"]))
    assert prepared("shop")["modalities"] == {} and not Path("shop/text_feat.npy").exists()


def test_since_and_until_are_dates_or_numbers(products, letters, prepared):
    main([*SHOP, "--since=2024-01-11", "--until=2024-03-01", "--split=random"])
    assert prepared("shop")["steps"][1] == {
        "step": "since 2024-01-11 until 2024-03-01",
        "interactions": 50,
        "users": 7,
        "items": 20,
    }


def test_pictures_by_name_and_by_column(products, letters, prepared, caplog):
    Path("photos").mkdir()
    for number in range(18):
        Path(f"photos/p{number:02d}.jpg").write_text("a" * number)
        Path(f"photos/{number}.png").write_text("b")
    main([*WITH_TEXTS, "--image-folder=photos"])
    image = load_dataset("./shop").features["image"]
    assert prepared("shop")["modalities"]["image"]["missing"] == 2
    assert "image: 2 of 20 items have none; their rows are the mean of the others" in caplog.text
    np.testing.assert_allclose(image[18], image[:18].mean(axis=0), rtol=1e-6)
    main([*WITH_TEXTS, "--image-folder=photos", "--image-column=photo"])
    assert letters.asked[-20:] != letters.asked[:20]
    assert prepared("shop")["catalogue"][1] == "pictures: 'photo', in photos"


def test_what_is_encoded_is_not_encoded_again(products, letters, monkeypatch):
    """Stopped after two pieces of four; the third command finds nothing to do for the encoder until a text changes."""
    monkeypatch.setattr(encoding, "PIECE", 5)
    letters.stop_after = 10
    with pytest.raises(KeyboardInterrupt):
        main(WITH_TEXTS)
    assert len(letters.asked) == 10 and not Path("shop/interactions.parquet").exists()
    letters.stop_after = None
    main(WITH_TEXTS)
    assert len(letters.asked) == 20
    whole = np.load("shop/text_feat.npy")
    np.testing.assert_array_equal(whole, letters.encode(list(letters.asked)))
    letters.asked.clear()
    products.write_text(products.read_text().replace("thing 3,", "other 3,"))
    main(WITH_TEXTS)
    assert len(letters.asked) == 20 and not np.array_equal(np.load("shop/text_feat.npy"), whole)


def test_content_that_no_item_has_is_refused(products, letters):
    with pytest.raises(InputError, match="^image: no item has any; name other columns or folders, or leave"):
        main([*WITH_TEXTS, "--image-column=photo"])
    assert not Path("shop/prepare.json").exists()


def test_the_same_command_gives_the_same_bytes(products, letters):
    main(WITH_TEXTS)
    first = {path.name: path.read_bytes() for path in Path("shop").iterdir()}
    main(WITH_TEXTS)
    assert first == {path.name: path.read_bytes() for path in Path("shop").iterdir()}


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["--interactions=gone.csv"], "gone.csv: cannot be read: No such file or directory"),
        ([*SHOP[1:], "--min-rating=9"], "rated 9 or more: leaves no interaction; ask for less"),
        ([*SHOP[1:], "--k-core=0"], "--k-core 0: must be 1 or more"),
        ([*SHOP[1:], "--since=noon"], "--since: time 'noon' cannot be read"),
        ([*SHOP[1:], "--split-ratios=0.9,0.1,0"], "--split random: leaves nothing for test"),
        ([*SHOP[1:], "--catalogue=orders.csv"], "orders.csv: row 8: item id 'p16' appears twice; keep one row"),
        ([*SHOP[1:], "--catalogue=products.csv", "--text-columns=titel"], "no column 'titel' (--text-column)"),
        ([*SHOP[1:], "--image-folder=nowhere"], "nowhere: no such folder (--image-folder)"),
        ([*SHOP[1:], "--image-folder=."], "holds no picture called after an item's id, such as p00.jpg"),
    ),
)
def test_refusals(products, letters, arguments, message):
    with pytest.raises(InputError) as error:
        main(["shop", *arguments])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not Path("shop/prepare.json").exists()


def test_a_folder_of_somebody_else_s_is_left_alone(products, letters):
    Path("shop").mkdir()
    Path("shop/letters.txt").write_text("dear")
    with pytest.raises(InputError, match=r"shop: is not empty \(letters.txt\); name a new folder"):
        main(SHOP)
    Path("file").write_text("")
    with pytest.raises(InputError, match="file: is a file; name a folder to make"):
        main(["file", *SHOP[1:]])


def test_ids_that_are_numbers_in_one_file_and_text_in_the_other(tmp_path):
    Path(tmp_path / "products.jsonl").write_text(
        "".join(json.dumps({"id": n, "title": f"t{n}"}) + "\n" for n in (3, 1))
    )
    catalogue = read_catalogue(tmp_path / "products.jsonl", np.array(["1", "2", "3"], dtype=object))
    assert catalogue.texts == ["t1", "", "t3"] and catalogue.pictures is None
    with pytest.raises(InputError, match="none of its 2 items has interactions; its first is '3', theirs 'x'"):
        read_catalogue(tmp_path / "products.jsonl", np.array(["x"], dtype=object))


# ---------------------------------------------------------------------------------------------------------------------
# The encoders themselves, where they are installed

INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("sentence_transformers", "PIL")}
INSTALLED |= {"lite": importlib.util.find_spec("efficientnet_lite_pytorch") is not None}


@pytest.mark.skipif(not INSTALLED["sentence_transformers"], reason="sentence-transformers is not installed")
def test_texts_of_like_meaning_are_near():
    encoder = text_encoder(MINILM, "cpu")
    texts = ["a red cotton shirt", "crimson t-shirt of cotton", "stainless steel kettle"]
    near = encoder.encode(texts)
    assert (
        near.shape == (3, 384) and near.dtype == np.float32 and encoder.name.startswith("minilm, sentence-transformers")
    )
    cosines = near @ near.T / np.outer(*[np.linalg.norm(near, axis=1)] * 2)
    assert cosines[0, 1] > 0.6 > 0.3 > cosines[0, 2]
    np.testing.assert_allclose(encoder.encode(texts[:1]), near[:1], atol=1e-5)
    with pytest.raises(InputError, match="^--text-model ./no-such-folder: cannot be loaded"):
        text_encoder("./no-such-folder", "cpu")


@pytest.mark.skipif(not (INSTALLED["PIL"] and INSTALLED["lite"]), reason="efficientnet_lite_pytorch is not installed")
def test_pictures_of_like_look_are_near(tmp_path):
    _picture(tmp_path / "red.png")
    _picture(tmp_path / "almost.png", (190, 40, 30), (120, 80))
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    from PIL import Image

    Image.fromarray(noise).save(tmp_path / "noise.png")
    encoder = image_encoder(LITE0, "cpu")
    near = encoder.encode([tmp_path / f"{name}.png" for name in ("red", "almost", "noise")])
    assert near.shape == (3, 1280) and near.dtype == np.float32
    distances = np.linalg.norm(near - near[0], axis=1)
    assert distances[1] < 0.5 * distances[2]
    (tmp_path / "broken.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    with pytest.raises(InputError, match="broken.png: cannot be read as a picture"):
        encoder.encode([tmp_path / "broken.png"])


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"^sentence_transformers is needed .*; pip install 'mde_fast\[content\]'$"):
        text_encoder(MINILM, "cpu")
