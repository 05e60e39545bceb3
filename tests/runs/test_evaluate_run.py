"""``evaluate`` measures a run again."""

import json
import shutil

import pytest
from small_runs import metrics, write_shop


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
