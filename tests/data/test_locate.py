import shutil
from pathlib import Path

import pytest

from mde_fast.data import load_dataset, stand_in
from mde_fast.data.dataset import STAND_IN


def find(dataset, **options):
    return load_dataset(dataset, use_features=False, require_real=True, **options)


@pytest.fixture
def shop_in(mmrec):
    """shop_in(root) puts the data set ``shop`` into a root folder."""
    return lambda root: shutil.copytree(mmrec(), Path(root) / "shop")


def test_places_are_searched_in_order(shop_in, tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_FAST_DATA", str(tmp_path / "environment"))
    places = [tmp_path / "cache/mde_fast/data", Path("data"), tmp_path / "environment", tmp_path / "given"]
    for found, place in enumerate(places, start=1):
        (shop_in(place) / "shop.inter").write_text(
            "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n0\t2\t2\n" + "".join(f"0\t{3 + i}\t0\n" for i in range(found))
        )
        given = {"data_dir": place} if place.name == "given" else {}
        assert find("shop", **given).num_items == 3 + found


def test_home_is_the_default_cache(shop_in, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shop_in(tmp_path / "home/.cache/mde_fast/data")
    assert find("shop").name == "shop"


def test_paths(mmrec, monkeypatch):
    folder = mmrec()
    for place in (folder, str(folder), f"{folder}/", folder / "shop.inter", f"{folder}/shop.inter"):
        assert find(place).name == "shop"
    monkeypatch.chdir(folder)
    assert find(".").name == find("shop.inter").name == find(Path(".")).name == "shop"
    monkeypatch.chdir(folder.parent)
    assert find("./shop").name == find("shop").name == find(Path("shop")).name == "shop"
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    assert find("..").name == "shop"


def test_a_folder_of_the_same_name_without_data_is_no_data_set():
    Path("baby").mkdir()
    assert load_dataset("baby", use_features=False).data == STAND_IN


def test_paths_that_lead_nowhere(refused, write):
    for path in ("./none", "/none/at/all", "none.csv", Path("none")):
        with refused(path, "no such file or folder", "--dataset"):
            find(path)
    with refused("csvs/none.csv", "--data-dir FOLDER-THAT-NOW-HOLDS-IT", "evaluate, inspect or resume"):
        find("csvs/none.csv")
    with refused("--dataset"):
        find("")
    with refused("notes.txt2", "ending", ".parquet"):
        find(write({"shop/notes.txt2": "x"}) / "notes.txt2")


def test_data_dir_must_exist(refused, mmrec):
    with refused("nowhere", "no such folder", "--data-dir"):
        find(mmrec(), data_dir="nowhere")


def test_unknown_names(refused, shop_in, tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_FAST_DATA", str(tmp_path / "environment"))
    shop_in(tmp_path / "given")
    Path("data/empty").mkdir(parents=True)
    places = [tmp_path / "given", f"{tmp_path / 'environment'} (no such folder)", "data", "cache/mde_fast/data"]
    with refused("'shopp' not found", *places, "datasets there: shop", "did you mean 'shop'?"):
        find("shopp", data_dir=tmp_path / "given")
    with refused("'other' not found", "datasets there: none", "--data-dir FOLDER-THAT-NOW-HOLDS-IT"):
        find("other")


def test_stand_ins(refused, monkeypatch):
    dataset = load_dataset("baby", use_features=False)
    assert dataset.data == STAND_IN and dataset.num_items == stand_in.STAND_IN_SIZES["baby"].items
    assert dataset.features == {}
    for name in stand_in.STAND_IN_SIZES:
        with refused(f"{name!r} not found", "looked in data (no such folder)"):
            load_dataset(name, require_real=True)
    with refused("'baby' not found"):
        load_dataset("baby", features={"image": "image.npy"})


def test_the_way_to_the_real_data_is_named_where_it_is_required(refused, tmp_path):
    (tmp_path / "my data").mkdir()
    with refused(stand_in.DISTRIBUTED_AT, stand_in.bring_real_data_command("baby")) as caught:
        load_dataset("baby", require_real=True)
    assert "did you mean" not in str(caught.value)
    with refused(stand_in.bring_real_data_command("baby", tmp_path / "my data" / "baby")):
        load_dataset("baby", data_dir=tmp_path / "my data", require_real=True)


def test_a_folder_of_several_forms(write, refused, mmrec):
    text = (mmrec() / "shop.inter").read_text()
    folder = write(
        {
            "big/big.inter": text.replace("\n1", "\n2"),
            "big/old.inter": text,
            "big/train.txt": "0 1\n",
            "big/interactions.csv": "",
        }
    )
    assert find(folder).num_users == 3
    (folder / "big.inter").unlink()
    assert find(folder).num_users == 2
    write({"big/older.inter": text})
    with refused("several .inter files", "old.inter, older.inter"):
        find(folder)


def test_a_folder_of_several_tables(write, refused):
    table = "user,item,split\na,1,0\na,2,1\na,3,2\n"
    folder = write({"shop/a.csv": table, "shop/items.parquet": b""})
    with refused("several tables", "a.csv, items.parquet", "interactions.csv"):
        find(folder)
    assert find(folder / "a.csv").name == "a"
    write({"shop/interactions.csv": table.replace("a", "b")})
    assert find(folder).user_ids.tolist() == ["b"]


def test_a_folder_without_interactions(write, refused, tmp_path):
    with refused("shop", "no interactions", "readme.md", "shop.inter", "train.txt", "all.txt", "interactions.csv"):
        find(write({"shop/readme.md": ""}))
