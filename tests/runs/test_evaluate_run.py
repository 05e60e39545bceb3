"""``evaluate`` measures a run again."""

import json
import shutil

import pytest
from small_runs import ITEMS, interactions, metrics, write_shop

from mde_fast import Recommender


@pytest.fixture
def run(trained):
    return trained("run", "--epochs", 3)


@pytest.fixture
def evaluated(command):
    """evaluated(run, ...) -> what --json prints."""

    def evaluated(run, *arguments):
        outcome = command("evaluate", run, *arguments, "--json")
        assert (outcome.status, outcome.err) == (0, "")
        return json.loads(outcome.out)

    return evaluated


def test_the_same_metrics_bit_for_bit(run, evaluated):
    result, again = metrics(run), evaluated(run)
    for name in ("model", "dataset", "data", "best_epoch", "valid", "test"):
        assert again[name] == result[name]
    assert again["topk"] == [5, 10, 20, 50]


def test_tables(run, command):
    out = command("evaluate", run).out
    result = metrics(run)
    assert out.splitlines()[0] == f"mde on shop (real), best epoch {result['best_epoch']}"
    tables = out.split("\n\n")[1:]
    for part, table in zip(("valid", "test"), tables):
        lines = table.splitlines()
        assert lines[0] == part and lines[1].split() == ["@5", "@10", "@20", "@50"]
        assert lines[2].split() == ["recall", *(f"{result[part][f'recall@{k}']:.4f}" for k in (5, 10, 20, 50))]


def test_other_cutoffs(run, evaluated):
    again = evaluated(run, "--topk", "20,1")
    assert again["topk"] == [1, 20]
    assert again["test"]["ndcg@20"] == metrics(run)["test"]["ndcg@20"]
    assert again["test"]["recall@1"] == again["test"]["precision@1"]


@pytest.mark.parametrize("topk", ["0", "5,x", "-3", "5,0", "2.5"])
def test_cutoffs_that_are_none(run, command, refused, topk):
    refused(command("evaluate", run, f"--topk={topk}"), "topk")


def test_data_that_has_moved(run, shop, command, refused, evaluated, tmp_path):
    shutil.move(shop.parent, tmp_path / "elsewhere")
    refused(command("evaluate", run), "'shop' not found", "looked in")
    assert evaluated(run, "--data-dir", tmp_path / "elsewhere")["test"] == metrics(run)["test"]


def test_data_that_was_named_by_its_path_and_has_moved(trained, shop, evaluated, command, refused, tmp_path):
    run = trained("by path", "--dataset", shop / "shop.inter", "--epochs", 1)
    shutil.move(shop, tmp_path / "shop")
    refused(command("evaluate", run), "no such file")
    assert evaluated(run, "--data-dir", tmp_path / "shop")["test"] == metrics(run)["test"]
    refused(command("evaluate", run, "--data-dir", tmp_path), tmp_path / "shop.inter")


def test_other_data_of_that_name(run, shop, command, refused, tmp_path):
    other = write_shop(tmp_path / "elsewhere")
    lines = (other / "shop.inter").read_text().splitlines()
    (other / "shop.inter").write_text("\n".join(lines[:-9]))
    refused(command("evaluate", run, "--data-dir", other.parent), "run", "shop", "60 users", "59 and 40 now")


def test_features_are_not_needed(run, shop, evaluated):
    for path in shop.glob("*.npy"):
        path.unlink()
    assert evaluated(run)["test"] == metrics(run)["test"]


def test_a_damaged_checkpoint(run, command, refused):
    (best,) = (run / "checkpoints").glob("best-*.safetensors")
    best.write_bytes(best.read_bytes()[:100])
    refused(command("evaluate", run), best)
    refused(command("recommend", run, "--user", 1), best)


def test_no_run_and_no_arguments(command, refused):
    refused(command("evaluate", "nowhere"), "nowhere: not a run folder")
    refused(command("evaluate"), "RUN")
    refused(command("evaluate", "nowhere", "--k", 3), "--k")


def test_beyond_accuracy(run, evaluated, command):
    result = evaluated(run, "--beyond")
    for name in ("valid", "test"):
        assert result[name] == metrics(run)[name], "the metrics stay what they are"
    recommender = Recommender.load(run)
    held_out = {user: item for user, item, part in interactions() if part == 2}  # one each
    lists = dict(zip(held_out, recommender.recommend(held_out, k=5, filter_seen="train", candidates="all")))
    ranks = [
        [item for item, _ in lists[user]].index(item) + 1 if item in dict(lists[user]) else None
        for user, item in held_out.items()
    ]
    own = result["beyond"]["test"]["all"]
    assert own["hit@5"] == pytest.approx(sum(rank is not None for rank in ranks) / len(ranks))
    assert own["hit@5"] == pytest.approx(result["test"]["recall@5"]), "of one item each"
    assert own["mrr@5"] == pytest.approx(sum(1 / rank for rank in ranks if rank) / len(ranks))
    assert own["coverage@5"] == len({item for row in lists.values() for item, _ in row}) / ITEMS
    (group,) = result["beyond"]["test"]["groups"]
    assert group["train_interactions"] == [7, 7] and group["users"] == len(held_out)
    assert {name: group[name] for name in own} == own
    assert {name: group[name] for name in result["test"]} == pytest.approx(result["test"])
    assert "beyond" not in evaluated(run)
    out = command("evaluate", run, "--beyond").out
    assert f"hit       {own['hit@5']:>9.4f}" in out and "by train interactions, @20" in out


def test_groups_of_users(run, evaluated, command, refused):
    (group,) = evaluated(run, "--beyond", "--groups", "3,50")["beyond"]["test"]["groups"]
    assert group["train_interactions"] == [7, 7]
    refused(command("evaluate", run, "--groups", "3"), "--groups", "--beyond")
    for groups in ("5,3", "a", "0,1", "3,3"):
        refused(command("evaluate", run, "--beyond", f"--groups={groups}"), "--groups")
