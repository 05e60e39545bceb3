"""What ``inspect`` shows of a trained model."""

import csv
import json
import re
from base64 import b64encode
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from small_runs import ITEMS, USERS, files, interactions, metrics, write_shop
from torch.nn import functional as F

from mde_fast.inspect.relations import degree_bins, equal_bins
from mde_fast.runs.life import rebuild_model
from mde_fast.runs.run import RunFolder

WRITTEN = {
    "preferences.png",
    "cosine.png",
    "degree.png",
    "recall.png",
    "inspect.json",
    "inspect.md",
    "inspect.html",
    "users.csv",
    "items.csv",
}


@pytest.fixture
def inspected(command):
    """inspected(run, ...) -> (inspect.json, what was printed, its columns one blank apart)."""

    def inspected(run: Path, *arguments) -> tuple[dict, str]:
        outcome = command("inspect", run, *arguments)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        folder = run / "inspect"
        assert files(folder) == WRITTEN
        for picture in folder.glob("*.png"):
            assert picture.read_bytes()[:4] == b"\x89PNG"
        return json.loads((folder / "inspect.json").read_text()), re.sub(" +", " ", outcome.out)

    return inspected


@pytest.fixture
def run(trained):
    return trained("run", "--epochs", 3)


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def column(nodes: list[dict], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in nodes])


def test_preferences_are_those_of_the_checkpoint(run, inspected):
    inspected(run)
    _, tensors = RunFolder(run).checkpoints.load("best")
    for side, count in (("users", USERS), ("items", ITEMS)):
        nodes = rows(run / "inspect" / f"{side}.csv")
        expected = torch.softmax(tensors[f"model.preferences.{side}"], dim=1).numpy()
        assert len(nodes) == count and [int(row[side[:-1]]) for row in nodes] == list(range(count))
        for m, name in enumerate(("image", "text")):
            assert column(nodes, f"preference_{name}") == pytest.approx(expected[:, m], abs=1e-6)


def test_cosines_are_those_of_the_stored_embeddings(run, inspected):
    """The fused embedding of a node is its rows of H side by side, each times a positive preference."""
    inspected(run)
    _, tensors = RunFolder(run).checkpoints.load("best")
    for side in ("users", "items"):
        image, text = tensors[f"{side[:-1]}_embeddings"].unflatten(1, (2, 8)).unbind(1)
        nodes = rows(run / "inspect" / f"{side}.csv")
        assert column(nodes, "cosine_image_text") == pytest.approx(F.cosine_similarity(image, text).numpy(), abs=1e-4)


def test_degrees_and_recall(run, inspected):
    found, _ = inspected(run)
    users, items = (rows(run / "inspect" / f"{side}.csv") for side in ("users", "items"))
    train = [(user, item) for user, item, part in interactions() if part == 0]
    assert column(users, "degree").tolist() == np.bincount([user for user, _ in train], minlength=USERS).tolist()
    assert column(items, "degree").tolist() == np.bincount([item for _, item in train], minlength=ITEMS).tolist()
    assert column(users, "recall@20").mean() == pytest.approx(metrics(run)["test"]["recall@20"], abs=1e-6)
    recall = found["users"]["recall@20"]
    for bins in (recall["by_degree"], *recall["by"].values()):
        assert sum(bin["nodes"] for bin in bins) == recall["users"] == USERS
        mean = sum(bin["nodes"] * bin["recall"] for bin in bins) / USERS
        assert mean == pytest.approx(metrics(run)["test"]["recall@20"])


def test_distributions_and_correlations(run, inspected):
    found, out = inspected(run)
    nodes = rows(run / "inspect" / "items.csv")
    text, degree = column(nodes, "preference_text"), column(nodes, "degree")
    shown = found["items"]["distribution"]["preference of text"]
    expected = np.quantile(text, (0.25, 0.5, 0.75))
    assert (shown["lower"], shown["median"], shown["upper"]) == pytest.approx(expected, abs=1e-5)
    correlation = found["items"]["correlation_with_degree"]["preference of text"]
    assert correlation["spearman"] == pytest.approx(scipy.stats.spearmanr(text, degree).statistic, abs=1e-3)
    assert f"preference of text {shown['median']:.3f}" in out
    assert f"{correlation['spearman']:+.3f}" in out and out.startswith("shop (real), best epoch ")


def test_items_that_disagree_most(run, inspected):
    found, _ = inspected(run, "--k", 4)
    nodes = rows(run / "inspect" / "items.csv")
    lowest = sorted(nodes, key=lambda row: float(row["cosine_image_text"]))[:4]
    listed = found["disagreements"]["image / text"]
    assert [row["item"] for row in listed] == [int(row["item"]) for row in lowest]
    for row, node in zip(listed, lowest):
        assert row["degree"] == int(node["degree"])
        assert row["preference"]["text"] == pytest.approx(float(node["preference_text"]), abs=1e-6)
    text = (run / "inspect" / "inspect.md").read_text()
    assert f"| {listed[0]['item']} | {listed[0]['degree']} | {listed[0]['cosine']:.3f} |" in text
    assert "Items whose image and text disagree most" in text and "![recall](recall.png)" in text


def test_the_page_has_the_pictures_in_it(run, inspected):
    _, out = inspected(run)
    page = (run / "inspect" / "inspect.html").read_text()
    for picture in (run / "inspect").glob("*.png"):
        assert b64encode(picture.read_bytes()).decode() in page
    assert "cosine image / text" in page and "inspect.html" in out


def test_external_ids(trained, inspected):
    lines = [f"customer-{user},item {item},{('train', 'valid', 'test')[part]}" for user, item, part in interactions()]
    folder = Path("data/table")
    folder.mkdir()
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,split", *lines]))
    for name in ("image", "text"):
        (folder / f"{name}_feat.npy").write_bytes(Path(f"data/shop/{name}_feat.npy").read_bytes())
    run = trained("run", "--dataset", "data/table", "--epochs", 1)
    found, _ = inspected(run)
    assert all(row["item"].startswith("item ") for row in found["disagreements"]["image / text"])
    assert rows(run / "inspect" / "users.csv")[0]["user"].startswith("customer-")


def test_three_modalities(trained, shop, inspected):
    np.save(shop / "audio_feat.npy", np.random.default_rng(2).standard_normal((ITEMS, 5)).astype(np.float32))
    run = trained("run", "--epochs", 1)
    found, out = inspected(run)
    pairs = [" / ".join(pair) for pair in combinations(found["modalities"], 2)]
    assert len(pairs) == 3 and list(found["disagreements"]) == pairs
    nodes = rows(run / "inspect" / "users.csv")
    assert sum(column(nodes, f"preference_{name}") for name in found["modalities"]) == pytest.approx(1, abs=1e-5)
    assert all(f"cosine {pair}" in out for pair in pairs)


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--nlt", "fixed:0.7"], "Preferences were not learned: nlt fixed:0.7"),
        (["--nlt", "none"], "weighed by 1/2 everywhere"),
        (["--nlt", "free"], "weighed by a free weight per node"),
        (["--fusion-nodes", "users", "--item-graph", "blend"], "Preferences of items do not enter the fusion"),
        (["--fusion-nodes", "users", "--nlt-detach", "false"], "only MDA and MSA move them"),
        (["--fusion", "sum", "--layer-combine", "mean", "--projection", "linear"], "shop (real)"),
        (
            [
                "--precision",
                "bf16",
                "--slow-precision",
                "--n-layers",
                "0",
                "--msa",
                "infonce",
                "--preference-init",
                "zero",
            ],
            "shop (real)",
        ),
    ],
)
def test_options(trained, inspected, flags, said):
    found, out = inspected(trained("run", "--epochs", 1, *flags))
    assert said in out
    fixed = found["items"]["distribution"]["preference of text"]
    if "fixed:0.7" in flags:
        assert fixed["minimum"] == pytest.approx(fixed["maximum"]) == pytest.approx(0.7)
        assert "preference of text 0.700 (0.700 to 0.700) does not vary" in out


def test_elsewhere(run, shop, command, tmp_path):
    shop.parent.rename(tmp_path / "moved")
    outcome = command("inspect", run, "--data-dir", tmp_path / "moved", "--output", "looked/at")
    assert outcome.status == 0, outcome.err
    assert files(Path("looked/at")) == WRITTEN and not (run / "inspect").exists()
    assert outcome.out.endswith("pictures and tables in looked/at\n")


def test_stand_in_features_are_called_so(trained, shop, inspected):
    for path in shop.glob("*_feat.npy"):
        path.unlink()
    found, out = inspected(trained("run", "--epochs", 1))
    assert found["data"] == "stand-in features" and "These figures say nothing about real data" in out
    line = "STAND-IN FEATURES: these figures say nothing about real data."
    assert f"**{line}**" in Path("run/inspect/inspect.md").read_text()
    assert line in Path("run/inspect/inspect.html").read_text()


def test_refused(run, shop, command, refused):
    refused(command("inspect", "nowhere"), "nowhere: not a run folder")
    refused(command("inspect", run, "--k", 0), "--k: 0 must be 1 or more")
    Path("file").write_text("")
    refused(command("inspect", run, "--output", "file/below"), "file/below: cannot be made")
    (shop / "text_feat.npy").unlink()
    np.save(shop / "text_feat.npy", np.random.default_rng(3).random((ITEMS, 8), dtype=np.float32))
    refused(command("inspect", run), "trained on other features of shop", "text")
    write_shop(Path("other"))
    lines = (Path("other/shop/shop.inter")).read_text().splitlines()
    Path("other/shop/shop.inter").write_text("\n".join(lines[:-9]))
    refused(command("inspect", run, "--data-dir", "other"), "trained on other data than shop")


def test_a_model_without_preferences(trained, command, refused):
    run = trained("run", "--model", "lightgcn", "--epochs", 1)
    refused(command("inspect", run), run, "no modality preferences", "--model mde")


def test_the_rebuilt_model_is_the_one_that_was_kept(run):
    model, dataset, state = rebuild_model(run)
    _, tensors = RunFolder(run).checkpoints.load("best")
    for vectors, side in zip(model.embeddings(), ("user", "item")):
        assert torch.equal(vectors, tensors[f"{side}_embeddings"])
    assert dataset.num_users == USERS and state["epoch"] == metrics(run)["best_epoch"]


def test_degree_bins_double():
    bins = degree_bins(np.array([0, 1, 1, 2, 3, 9, 30]))
    assert [bin.label for bin in bins] == ["0", "1", "2-3", "8-15", "16-31"]
    assert [int(bin.nodes.sum()) for bin in bins] == [1, 2, 2, 1, 1]


def test_equal_bins_share_equal_values():
    values = np.array([0.1] * 30 + [0.5] * 50 + [0.9] * 20 + [7.0])
    among = np.arange(101) < 100
    bins = equal_bins(values, among)
    assert [(bin.label, int(bin.nodes.sum())) for bin in bins] == [
        ("0.1 to 0.1", 30),
        ("0.5 to 0.5", 50),
        ("0.9 to 0.9", 20),
    ]
    assert not any(bin.nodes[100] for bin in bins)
    (only,) = equal_bins(np.full(5, 0.25), np.ones(5, dtype=bool))
    assert only.nodes.all() and only.label == "0.25 to 0.25"
    assert equal_bins(values, np.zeros(101, dtype=bool)) == []
