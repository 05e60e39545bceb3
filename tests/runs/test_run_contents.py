"""What a finished run leaves in its folder."""

import json
import math
import re
from pathlib import Path

import pytest
from small_runs import OPTIONS, epoch_rows, files, metrics

from mde_fast import __version__
from mde_fast.options import read_mapping
from mde_fast.runs.config import make_config, read_config
from mde_fast.runs.run import RunFolder

DATASET_LINES = [
    "shop (real): 60 users, 40 items, 540 interactions (420 train / 60 valid / 60 test), sparsity 77.5000%",
    "features: image 16-d float32, text 8-d float32",
]
METRICS = {f"{name}@{cutoff}" for name in ("recall", "precision", "map", "ndcg") for cutoff in (5, 10, 20, 50)}


def test_these_files_and_no_others(finished):
    best, last = metrics(finished)["best_epoch"], metrics(finished)["epochs_run"]
    assert files(finished) == {
        "config.yaml",
        "log.txt",
        "metrics.json",
        "metrics.jsonl",
        "curves.png",
        "catalogue.json",
        "catalogue.safetensors",
        "checkpoints/best.json",
        "checkpoints/last.json",
        f"checkpoints/best-{best:04d}-000000.safetensors",
        f"checkpoints/last-{last:04d}-000000.safetensors",
    }


def test_options_are_complete_and_load_again(finished):
    options = read_mapping(finished / "config.yaml")
    assert options.pop("mde_fast") == __version__
    assert read_config(finished / "config.yaml") == (make_config(options), [])
    changed = {"data_dir": options["data_dir"], "cache_dir": "none"}
    assert make_config(options) == make_config({**OPTIONS, **changed}) == RunFolder.open(finished).config()


def test_a_row_per_epoch(finished):
    rows = epoch_rows(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row["loss_parts"].values()))
        assert set(row["loss_parts"]) == {"bpr", "bpr_image", "bpr_text", "mda", "msa", "regulariser"}
        assert set(row["valid"]) == METRICS
        assert row["seconds"] > 0 and row["seconds_evaluation"] > 0
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_result(finished):
    result, rows = metrics(finished), epoch_rows(finished)
    expected = {"status": "finished", "model": "mde", "dataset": "shop", "data": "real", "device": "cpu"}
    expected |= {"precision": "fp32", "seed": 999, "epochs_run": 6}
    assert {name: result[name] for name in expected} == expected
    rounded = [round(row["valid"]["recall@20"], 4) for row in rows]
    assert result["best_epoch"] == 1 + rounded.index(max(rounded))
    assert result["valid"] == rows[result["best_epoch"] - 1]["valid"]
    assert set(result["test"]) == METRICS and all(0 <= value <= 1 for value in result["test"].values())
    assert result["seconds_per_epoch"] > 0 and result["seconds_per_evaluation"] > 0
    assert set(result["versions"]) == {"mde_fast", "torch", "python"}


def test_what_the_best_flag_means(finished):
    """Each epoch that was the best so far has it, so the last of them is the best of all."""
    rows = epoch_rows(finished)
    assert [row["epoch"] for row in rows if row["best"]][-1] == metrics(finished)["best_epoch"]
    assert rows[0]["best"]


def test_curves_are_a_picture(trained, picture):
    run = trained("run", "--epochs", 2)
    start = (run / "curves.png").read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    assert width > 800 and height > 300


def test_the_log_has_what_was_printed(training, shop):
    outcome = training("--output", "run", "--epochs", 2)
    log = Path("run/log.txt").read_text()
    logged = re.sub(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", log)
    assert logged == outcome.out
    assert outcome.err == ""
    assert outcome.out.splitlines()[:2] == DATASET_LINES


def test_the_log_is_as_complete_when_python_starts_the_run(finished):
    log = (finished / "log.txt").read_text()
    for line in (*DATASET_LINES, "epoch   6  loss", "best epoch", "results in"):
        assert line in log


def test_an_epoch_has_one_line_with_loss_metric_and_times(training, shop):
    out = training("--output", "run", "--epochs", 3).out
    pattern = r"epoch +(\d+)  loss (\d+\.\d{4})  valid recall@20 ([01]\.\d{4}) [ *]  \d+\.\d s \+ \d+\.\d s evaluation"
    pattern += r", (?:\d+ s left|\d+ s to \d+ s left|nothing left)"
    lines = re.findall(f"(?m)^{pattern}$", out)
    rows = epoch_rows(Path("run"))
    expected = [(str(row["epoch"]), f"{row['loss']:.4f}", f"{row['valid']['recall@20']:.4f}") for row in rows]
    assert lines == expected
    table = [line.split() for line in out.splitlines() if line.startswith("recall ")]
    result = metrics(Path("run"))["test"]
    assert table == [["recall", *(f"{result[f'recall@{cutoff}']:.4f}" for cutoff in (5, 10, 20, 50))]]


def test_tensors_are_safetensors_and_nothing_is_a_pickle(finished):
    for path in finished.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix != ".safetensors":  # these begin with any number
                assert content[:1] != b"\x80" and content[:2] != b"PK", path
            else:
                header = content[8 : 8 + int.from_bytes(content[:8], "little")]
                entries = json.loads(header)
                assert entries.pop("__metadata__") == {"mde_fast": __version__}
                assert all({"dtype", "shape"} <= set(entry) for entry in entries.values())


def test_the_best_checkpoint_has_parameters_and_embeddings(finished):
    state, tensors = RunFolder(finished).checkpoints.load("best")
    assert tensors["user_embeddings"].shape == (60, 16) and tensors["item_embeddings"].shape == (40, 16)
    assert tensors["model.user_table"].shape == (60, 2, 8)
    assert state["valid"] == metrics(finished)["valid"]
    assert not any("features" in name for name in tensors), "features belong to the data set"


def test_every_file_says_which_version_wrote_it(finished):
    for name in ("metrics.json", "catalogue.json", "checkpoints/best.json", "checkpoints/last.json"):
        assert json.loads((finished / name).read_text())["mde_fast"] == __version__, name
    assert {row["mde_fast"] for row in epoch_rows(finished)} == {__version__}
    assert read_mapping(finished / "config.yaml")["mde_fast"] == __version__


def test_who_may_read_a_file_is_decided_by_the_umask(finished):
    modes = {path.stat().st_mode & 0o777 for path in finished.rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_the_folder_is_named_after_data_and_model_by_default(training, shop):
    assert training("--epochs", 1).status == 0
    (run,) = Path("runs").iterdir()
    assert re.fullmatch(r"shop-mde-\d{8}-\d{6}", run.name)
    assert (run / "metrics.json").exists()


def test_a_yaml_file_with_the_names_of_mmrec(command, shop, tmp_path):
    (tmp_path / "mmrec.yaml").write_text(
        "feat_embed_dim: 8\nprojection_hidden: 8\ntrain_batch_size: 64\nlearning_rate: [0.01]\ngpu_id: 0\n"
        "USER_ID_FIELD: userID:token\nknn_k: 5\nvision_feature_file: image_feat.npy\ntext_feature_file: text_feat.npy\n"
    )
    flags = ["--config", tmp_path / "mmrec.yaml", "--dataset", "shop", "--lr", "0.02", "--epochs", 1, "--device", "cpu"]
    outcome = command("train", *flags, "--output", "run")
    assert outcome.status == 0, outcome.err
    assert "passed over: gpu_id" in outcome.out.splitlines()[0]
    config = RunFolder.open("run").config()
    hyper, data = config.hyper, config.data
    assert (hyper.embedding_size, hyper.knn_k) == (8, 5)
    assert (config.training.learning_rate, data.user_column) == (0.02, "userID")
    assert data.features == {"image": "image_feat.npy", "text": "text_feat.npy"}


def test_another_metric_and_other_cutoffs(trained):
    run = trained("run", "--valid-metric", "NDCG@7", "--topk", "3,1", "--epochs", 2)
    result = metrics(run)
    assert set(result["test"]) == {f"{name}@{k}" for name in ("recall", "precision", "map", "ndcg") for k in (1, 3, 7)}
    assert math.isclose(result["valid"]["recall@1"], result["valid"]["precision@1"])  # one held-out item per user
