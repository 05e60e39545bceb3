"""``export`` writes vectors that other programs rank with as we do."""

import json
import os

import numpy as np
import pyarrow.parquet
import pytest
import torch
from small_runs import ITEMS, USERS

import mde_fast
from mde_fast import Recommender
from mde_fast.ranking import vector_index

NPY = ["item_vectors.npy", "item_vectors.parquet", "user_vectors.npy", "user_vectors.parquet"]


@pytest.fixture
def exported(command, finished):
    """exported(...) -> what --json prints of an export to ./vectors."""

    def exported(*arguments):
        outcome = command("export", finished, "--output", "vectors", "--json", *arguments)
        assert (outcome.status, outcome.err) == (0, "")
        return json.loads(outcome.out)

    return exported


def test_their_inner_products_are_the_scores(finished, exported):
    result = exported("--index", "none")
    assert (result["users"], result["items"], result["width"]) == (USERS, ITEMS, 16), "eight of each modality"
    assert sorted(os.listdir("vectors")) == ["export.json", *NPY]
    users, items = np.load("vectors/user_vectors.npy"), np.load("vectors/item_vectors.npy")
    assert users.dtype == items.dtype == np.float32
    scores = users @ items.T
    recommender = Recommender.load(finished)
    for user, row in zip(range(USERS), recommender.recommend(range(USERS), k=ITEMS, filter_seen="none")):
        assert [score for _, score in row] == pytest.approx([scores[user, item] for item, _ in row], rel=1e-4)


def test_parquet_has_the_ids(finished, exported):
    exported("--index", "none")
    for kind, count in (("user", USERS), ("item", ITEMS)):
        table = pyarrow.parquet.read_table(f"vectors/{kind}_vectors.parquet")
        assert table["id"].to_pylist() == list(range(count))
        vectors = np.array(table["vector"].to_pylist(), np.float32)
        assert np.array_equal(vectors, np.load(f"vectors/{kind}_vectors.npy"))


def test_ids_of_text(training, shop, command):
    lines = (shop / "shop.inter").read_text().splitlines()[1:]
    rows = ["user,item", *(f"u{user},i{item}" for user, item, _ in map(str.split, lines))]
    (shop.parent / "sales.csv").write_text("\n".join(rows))
    assert training("--dataset", shop.parent / "sales.csv", "--model", "lightgcn", "--output", "run").status == 0
    assert command("export", "run", "--output", "vectors", "--index", "none").status == 0
    table = pyarrow.parquet.read_table("vectors/item_vectors.parquet")
    assert table["id"].to_pylist() == Recommender.load("run").item_ids and "i7" in table["id"].to_pylist()


def test_an_exact_index_finds_what_is_recommended(finished, exported):
    faiss = pytest.importorskip("faiss")
    result = exported("--k", 7)
    assert {**result, "mde_fast": mde_fast.__version__} == json.loads(open("vectors/export.json").read())
    index = result["index"]
    assert (index["kind"], index["recall"], index["k"], index["items"]) == ("flat", 1.0, 7, ITEMS)
    assert index["users_measured"] == USERS and index["library"] == f"faiss {faiss.__version__}"
    scores, rows = faiss.read_index("vectors/items.faiss").search(np.load("vectors/user_vectors.npy"), 7)
    recommended = Recommender.load(finished).recommend(range(USERS), k=7, filter_seen="none")
    assert [[item for item, _ in row] for row in recommended] == rows.tolist()
    assert np.allclose([[score for _, score in row] for row in recommended], scores)


def test_an_index_answers_with_rows_of_all_items(tmp_path):
    """Also where it holds only some."""
    faiss = pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(9, 4, generator=generator), torch.randn(30, 4, generator=generator)
    shelf = torch.tensor([3, 5, 8, 20, 29])
    for kind in ("flat", "hnsw"):
        vector_index.save_index(vector_index.Folder(tmp_path), vector_index.build_index(items, shelf, kind))
        _, rows = faiss.read_index(str(tmp_path / "items.faiss")).search(users.numpy(), 3)
        assert rows.tolist() == shelf[(users @ items[shelf].T).topk(3).indices].tolist()


def test_the_recall_is_measured(tmp_path):
    """Of an index that lacks items and of one with others' vectors."""
    pytest.importorskip("faiss")
    folder, path = vector_index.Folder(tmp_path), tmp_path / "items.faiss"
    items, users = torch.eye(6), torch.tensor([[6.0, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6]])
    everything = torch.arange(6)
    vector_index.save_index(folder, vector_index.build_index(items, everything, "flat"))
    assert vector_index.measure(path, users, items, everything, 2)["recall"] == 1
    vector_index.save_index(folder, vector_index.build_index(items, torch.tensor([1, 2, 3, 4]), "flat"))
    assert vector_index.measure(path, users, items, everything, 2)["recall"] == 0.5, "0 and 5 are not in it"
    vector_index.save_index(folder, vector_index.build_index(items.flip(0), everything, "flat"))
    assert vector_index.measure(path, users, items, everything, 3)["recall"] == 0
    assert vector_index.measure(path, users, items, everything, 60)["k"] == 6


def test_what_it_says(finished, command):
    pytest.importorskip("faiss")
    out = command("export", finished, "--output", "vectors", "--index", "hnsw").out
    recall = json.loads(open("vectors/export.json").read())["index"]["recall"]
    assert "60 users and 40 items, 16 wide (shop, real)" in out
    assert f"hnsw, 40 items; finds {recall:.4%} of the exact 20 best items of 60 users" in out


def test_written_anew(finished, exported, command):
    pytest.importorskip("faiss")
    exported()
    open("vectors/items.faiss.123.tmp", "w").close()  # of one that was killed
    exported("--index", "none")
    assert sorted(os.listdir("vectors")) == ["export.json", *NPY], "no index of another export stays"


def test_without_faiss(finished, command, refused, monkeypatch):
    monkeypatch.setattr(vector_index.importlib.util, "find_spec", lambda name: None)
    refused(command("export", finished, "--output", "vectors", "--index", "flat"), "mde_fast[index]", "--index none")
    assert not os.path.exists("vectors")
    outcome = command("export", finished, "--output", "vectors")
    assert outcome.status == 0 and "no index is written" in outcome.err and "mde_fast[index]" in outcome.err
    assert sorted(os.listdir("vectors")) == ["export.json", *NPY]


def test_what_makes_no_sense(finished, command, refused):
    refused(command("export", "nowhere", "--output", "vectors"), "nowhere: not a run folder")
    refused(command("export", finished), "--output")
    refused(command("export", finished, "--output", "vectors", "--k", 0), "--k: 0 must be 1 or more")
    refused(command("export", finished, "--output", finished), "has other files in it", "give a new folder")
    os.mkdir("mine")
    open("mine/notes.tmp", "w").close()
    refused(command("export", finished, "--output", "mine"), "has other files in it (notes.tmp)")
    assert os.listdir("mine") == ["notes.tmp"] and not os.path.exists("vectors")
    open("vectors", "w").close()
    refused(command("export", finished, "--output", "vectors", "--index", "none"), "vectors: is a file")
