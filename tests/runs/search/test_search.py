"""A search from the command line to what lies in its folder."""

import json
import re
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml
from mmrec_settings import LIGHTGCN, OVERALL, dataset
from small_runs import epoch_rows, files, metrics, write_shop
from small_searches import EPOCHS, FIXED, FLAGS, FOLDER, LIGHTGCN_FLAGS, SPACE, report_of, trials_of

from mde_fast.data import stand_in
from mde_fast.data.stand_in import StandInSize
from mde_fast.files import Checkpoints
from mde_fast.models.mde import MDE
from mde_fast.ranking.evaluator import Evaluator
from mde_fast.runs.config import schema
from mde_fast.search.study import Study
from mde_fast.training.trainer import TrainingError


def test_what_it_leaves(searched):
    report = searched("--trials", 4)
    assert files(FOLDER) == {
        *("study.db", "lock", "trials.json", "trials.md", "trials.html", "importance.png", "best.yaml"),
        *(f"trials/{number:04d}/{name}" for number in range(4) for name in ("options.yaml", "metrics.jsonl")),
    }
    rows = report["trials"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    first = next(row for row in rows if row["trial"] == 0)
    assert first["is_preset"] and first["parameters"] == {"learning_rate": 0.01, "msa_weight": 0.02, "msa": "cosine"}
    assert sum(row["is_preset"] for row in rows) == 1
    for row in rows:
        history = epoch_rows(FOLDER / f"trials/{row['trial']:04d}")
        assert len(history) == row["epochs"] == EPOCHS
        best = [epoch["epoch"] for epoch in history if epoch["best"]][-1]
        assert row["best_epoch"] == best and row["value"] == history[best - 1]["valid"]["recall@20"]
        assert row["seconds"] == pytest.approx(sum(epoch["seconds"] + epoch["seconds_evaluation"] for epoch in history))
    expected = {"dataset": "shop", "data": "real", "selected_on": "validation recall@20"}
    assert {name: report[name] for name in expected} == expected
    assert set(report["versions"]) == {"mde_fast", "torch", "optuna", "python"}
    assert report["fixed"]["epochs"] == EPOCHS and not set(report["fixed"]) & set(report["space"])


def test_the_table(searched):
    report = searched("--trials", 3)
    text = (FOLDER / "trials.md").read_text()
    assert text.startswith("# Search on shop (real)\n\n3 trials: 3 complete. Ranked by validation recall@20")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == (
        "| rank | trial | state | recall@20 | best epoch | epochs | seconds | learning_rate | msa_weight | msa |"
    )
    for line, row in zip(lines[1:4], report["trials"]):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == str(row["rank"]) and cells[1] == f"{row['trial']}{' *' if row['is_preset'] else ''}"
        assert cells[2:4] == ["complete", f"{row['value']:.4f}"] and cells[-1] == row["parameters"]["msa"]


def test_lines_of_a_search(searching):
    out = searching("--trials", 2).out.splitlines()
    assert out[0].startswith("shop (real): 60 users, 40 items")
    assert "searched: learning_rate, msa_weight, msa" in out
    assert any(line.startswith("trial 0: learning_rate 0.01, msa_weight 0.02, msa cosine") for line in out)
    pattern = r"trial 1: recall@20 0\.\d{4} at epoch \d of 3, \d+ s; best is trial [01] with 0\.\d{4}"
    assert any(re.fullmatch(pattern, line) for line in out)
    assert "2 trials: 2 complete" in out
    assert out[-2] == "page in search/shop/trials.html"
    assert out[-1] == "table in search/shop/trials.md; train with --config search/shop/best.yaml"
    assert not any(line.startswith("epoch ") for line in out)


def test_the_best_options_train_the_same_model_again(searched, command):
    report = searched("--trials", 4, "--seed", 5, "--valid-metric", "ndcg@10")
    best = report["trials"][0]
    outcome = command("train", "--config", FOLDER / "best.yaml", "--device", "cpu", "--output", "run")
    assert outcome.status == 0, outcome.err
    result = metrics(Path("run"))
    assert (result["valid"]["ndcg@10"], result["best_epoch"]) == (best["value"], best["best_epoch"])
    config = yaml.safe_load((Path("run") / "config.yaml").read_text())
    assert {name: config[name] for name in best["parameters"]} == best["parameters"]


def all_but_of_this_machine(path: Path) -> dict:
    options = yaml.safe_load(path.read_text())
    return {name: value for name, value in options.items() if name not in ("device", "cache_dir", "minutes")}


def test_the_best_options_do_not_depend_on_the_preset_of_the_dataset(command, shop, search_flags):
    """That of tiktok sets options that this search left to their defaults."""
    folder = shop.rename(shop.with_name("tiktok"))
    (folder / "shop.inter").rename(folder / "tiktok.inter")
    flags = [flag for flag in search_flags if not flag.startswith(("--dataset=", "--projection-hidden="))]
    outcome = command("search", *flags, "--dataset", "tiktok", "--preset", "none", "--trials", 2)
    assert outcome.status == 0, outcome.err
    best = report_of("search/tiktok")["trials"][0]
    flags = ["--config", "search/tiktok/best.yaml", "--device", "cpu", "--output", "run"]
    outcome = command("train", *flags)
    assert outcome.status == 0 and "preset tiktok of mde: " in outcome.out
    assert metrics(Path("run"))["valid"]["recall@20"] == best["value"]
    trial = Path(f"search/tiktok/trials/{best['trial']:04d}/options.yaml")
    assert all_but_of_this_machine(Path("run/config.yaml")) == all_but_of_this_machine(trial)


def test_the_best_options_do_not_depend_on_a_preset_of_ones_own(searched, command, tmp_path):
    best = searched("--trials", 2)["trials"][0]
    others = {"mda": "abs_cos", "nlt": "none", "split_seed": 4, "seed": 3, "precision": "bf16", "topk": [7]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(others))
    flags = ["--device", "cpu", "--preset", tmp_path / "mine.yaml", "--output", "run"]
    assert command("train", "--config", FOLDER / "best.yaml", *flags).status == 0
    trial = FOLDER / f"trials/{best['trial']:04d}/options.yaml"
    assert all_but_of_this_machine(Path("run/config.yaml")) == all_but_of_this_machine(trial)


def test_the_best_options_say_how_they_were_found(searched):
    report = searched("--trials", 3)
    best, start = report["trials"][0], next(row for row in report["trials"] if row["is_preset"])
    comments = [line for line in (FOLDER / "best.yaml").read_text().splitlines() if line.startswith("# ")]
    text = "\n".join(comments)
    for part in (
        "found for shop (real data)",
        "3 trials: 3 complete",
        f"validation recall@20 {best['value']:.4f} at epoch {best['best_epoch']} of 3",
        f"(trial {best['trial']}, seed 999)",
        f"reached {start['value']:.4f} (trial 0)",
        f"torch {torch.__version__}",
        "optuna ",
        "Train with: python -m mde_fast.train --config search/shop/best.yaml",
    ):
        assert part in text
    options = yaml.safe_load((FOLDER / "best.yaml").read_text())
    assert options["dataset"] == "shop" and not {"device", "cache_dir", "minutes"} & set(options)


def test_what_is_given_is_not_searched(searching):
    outcome = searching("--trials", 2, "--learning-rate", 0.02, "--msa", "cosine")
    assert outcome.status == 0, outcome.err
    assert "not searched, as they are given: learning_rate, msa" in outcome.out.splitlines()
    report = report_of()
    assert list(report["space"]) == ["msa_weight"] and report["fixed"]["learning_rate"] == 0.02
    options = yaml.safe_load((FOLDER / "best.yaml").read_text())
    assert (options["learning_rate"], options["msa"]) == (0.02, "cosine")


def test_what_is_given_is_not_searched_of_the_default_space_either(command, shop):
    outcome = command("search", *LIGHTGCN_FLAGS, "--preset", "none", "--reg-weight", 0.01, "--trials", 1)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert "searched: learning_rate, n_layers" in lines and "not searched, as they are given: reg_weight" in lines
    assert list(report_of()["space"]) == ["learning_rate", "n_layers"] and report_of()["fixed"]["reg_weight"] == 0.01


def test_lightgcn_is_searched_for_its_own_options_from_its_own_preset(command, shop):
    outcome = command("search", *LIGHTGCN_FLAGS, "--trials", 2)
    assert outcome.status == 0, outcome.err
    lines, report = outcome.out.splitlines(), report_of()
    assert "searched: learning_rate, n_layers, reg_weight" in lines
    assert "preset default of lightgcn: learning_rate 0.001, reg_weight 0.0001" in lines
    assert list(report["space"]) == ["learning_rate", "n_layers", "reg_weight"]
    first = next(row for row in report["trials"] if row["is_preset"])
    assert first["parameters"] == {"learning_rate": 0.001, "n_layers": 2, "reg_weight": 0.0001}
    assert {*report["fixed"], *report["space"], *NOT_FIXED} == set(schema("lightgcn"))


NOT_FIXED = ("dataset", "data_dir", "cache_dir", "device", "minutes", "slow_precision")


def test_the_best_options_of_lightgcn_train_lightgcn_again(command, shop):
    assert command("search", *LIGHTGCN_FLAGS, "--trials", 2).status == 0
    best = report_of()["trials"][0]
    outcome = command("train", "--config", FOLDER / "best.yaml", "--device", "cpu", "--output", "run")
    assert outcome.status == 0, outcome.err
    result = metrics(Path("run"))
    assert (result["model"], result["valid"]["recall@20"]) == ("lightgcn", best["value"])


def test_an_option_of_another_model_is_refused_in_a_space_a_file_and_a_flag(command, shop, refused):
    Path("own.yaml").write_text("n_layers: [1, 2]\nmda: [fro, row_l2]\n")
    Path("file.yaml").write_text("model: lightgcn\nmda: fro\n")
    said = "mda is an option of mde, not of lightgcn"
    refused(command("search", *LIGHTGCN_FLAGS, "--space", "own.yaml"), f"own.yaml: {said}")
    refused(command("search", *LIGHTGCN_FLAGS[1:], "--config", "file.yaml"), f"file.yaml: {said}")
    refused(command("search", *LIGHTGCN_FLAGS, "--mda", "fro"), f"command line: {said}")
    assert not Path("search").exists()


# ---------------------------------------------------------------------------------------------------------------------
# The space as a file, and grids of MMRec's


def test_the_printed_space_is_one_that_is_read_back(searching, command, shop, tmp_path):
    (tmp_path / "nothing.yaml").write_text("gpu_id: 0\n")  # there is a line to say about it
    flags = ["--preset", "none", "--config", tmp_path / "nothing.yaml", "--epochs", 1]
    printed = command("search", *FLAGS, *flags, "--print-space")
    assert (printed.status, printed.err) == (0, "") and not Path("search").exists()
    (tmp_path / "printed.yaml").write_text(printed.out)
    assert command("search", *FLAGS, *flags, "--print-space", "--space", tmp_path / "printed.yaml") == printed
    assert command("search", *FLAGS, *flags, "--trials", 1, "--output", "one").status == 0
    assert (
        command("search", *FLAGS, *flags, "--trials", 1, "--output", "two", "--space", tmp_path / "printed.yaml").status
        == 0
    )
    assert report_of("one")["space"] == report_of("two")["space"] and len(report_of("one")["space"]) > 10
    assert list(report_of("one")["space"]) == list(yaml.safe_load(printed.out))


def test_the_printed_space_is_what_would_be_searched(searching, command, shop):
    assert yaml.safe_load(searching("--print-space").out) == yaml.safe_load(SPACE)
    assert list(yaml.safe_load(searching("--print-space", "--msa", "cosine").out)) == ["learning_rate", "msa_weight"]
    of_lightgcn = yaml.safe_load(command("search", *LIGHTGCN_FLAGS, "--print-space").out)
    assert of_lightgcn == {
        "learning_rate": {"low": 3e-05, "high": 0.003, "log": True},
        "n_layers": [1, 2, 3, 4],
        "reg_weight": {"low": 1e-06, "high": 0.1, "log": True},
    }


@pytest.fixture
def mmrec_files():
    """Flags of MMRec's own settings for LightGCN, as they are."""
    flags = []
    for name, content in (("overall", OVERALL), ("shop", dataset("shop")), ("LightGCN", LIGHTGCN)):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))
        flags.append(f"--config={name}.yaml")
    return [*flags, "--data-dir=data"]


def test_a_grid_of_mmrec_s_is_searched_and_nothing_else(command, shop, mmrec_files):
    flags = [flag for flag in LIGHTGCN_FLAGS if "learning-rate" not in flag]
    outcome = command("search", *flags, *mmrec_files, "--trials", 2)
    assert outcome.status == 0, outcome.err
    report = report_of()
    assert report["space"] == {"n_layers": "1, 2, 3, 4", "reg_weight": "0.01, 0.001, 0.0001, 1e-05, 1e-06"}
    assert report["fixed"]["learning_rate"] == 0.001, "of overall.yaml"
    assert "n_layers is a grid of 4 values" in outcome.out


def test_a_flag_takes_one_value_of_a_grid(command, shop, mmrec_files):
    outcome = command("search", *LIGHTGCN_FLAGS, *mmrec_files, "--n-layers", 3, "--print-space")
    assert yaml.safe_load(outcome.out) == {"reg_weight": [0.01, 0.001, 1e-4, 1e-5, 1e-6]}


def test_training_leaves_a_grid_alone_and_says_so(command, shop, mmrec_files):
    outcome = command("train", *LIGHTGCN_FLAGS, *mmrec_files, "--epochs=1", "--output", "run")
    assert outcome.status == 0, outcome.err
    assert (
        "LightGCN.yaml: n_layers is a grid of 4 values, none of them chosen: python -m mde_fast.search" in outcome.out
    )
    options = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (options["n_layers"], options["reg_weight"]) == (2, 0.0001), "the default, and LightGCN's preset"


def test_a_grid_of_seeds_is_refused(command, shop, refused):
    Path("overall.yaml").write_text("seed: [1, 2]\nhyper_parameters: [seed]\n")
    refused(command("search", *FLAGS, "--config", "overall.yaml"), "seed cannot be searched; give it as --seed instead")


# ---------------------------------------------------------------------------------------------------------------------
# Its first trial


def test_a_preset_outside_the_space(searching):
    outcome = searching("--trials", 1, "--preset", "none")
    assert outcome.status == 0
    assert outcome.err.startswith("the space lacks learning_rate 0.0001, which a run has without a search")


def test_never_worse_than_the_preset(searched):
    rows = searched("--trials", 3)["trials"]
    assert rows[0]["value"] >= next(row for row in rows if row["is_preset"])["value"]


# ---------------------------------------------------------------------------------------------------------------------
# Test data


def test_the_test_split_is_never_measured(searched, monkeypatch):
    measure, parts, sizes = Evaluator.__call__, [], []

    def watched(self, users, items, part):
        parts.append(part)
        sizes.append(self.held_out["test"].nnz)
        return measure(self, users, items, part)

    monkeypatch.setattr(Evaluator, "__call__", watched)
    searched("--trials", 2)
    assert parts == ["valid"] * 2 * EPOCHS
    assert set(sizes) == {0}, "there are no test interactions to measure"


def test_other_test_interactions_change_nothing(searched, shop):
    before = trials_of(searched("--trials", 3))
    rows = [line.split("\t") for line in (shop / "shop.inter").read_text().splitlines()]
    rng = np.random.default_rng(1)
    for row in rows:
        if row[2] == "2":
            row[1] = str(rng.integers(40))
    (shop / "shop.inter").write_text("\n".join("\t".join(row) for row in rows))
    assert trials_of(searched("--trials", 3, output="other")) == before


# ---------------------------------------------------------------------------------------------------------------------
# Trials that do not come to their end


def test_one_that_diverges_is_recorded_and_the_search_goes_on(searching, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: [0.01, 1e30]\n")
    outcome = searching("--trials", 5)
    assert (outcome.status, outcome.err) == (0, "")
    rows = report_of()["trials"]
    failed = [row for row in rows if row["parameters"]["learning_rate"] > 1]
    assert failed and len(rows) == 5
    for row in rows:
        assert row["state"] == ("failed" if row in failed else "complete")
    assert re.fullmatch(r"epoch 1, step \d+: loss part '\w+' is (nan|-?inf)", failed[0]["reason"])
    assert f"- Trial {failed[0]['trial']} failed: epoch 1" in (FOLDER / "trials.md").read_text()
    assert f"trial {failed[0]['trial']}: failed: epoch 1" in outcome.out
    assert not list(FOLDER.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "error, reason",
    [
        (TrainingError("too\nhot"), "too hot"),
        (torch.OutOfMemoryError("too large\nmore"), "out of memory (too large)"),
        (MemoryError(), "out of memory (MemoryError)"),
    ],
)
def test_all_of_them_fail(searching, monkeypatch, error, reason):
    def fails(self, *batch):
        raise error

    monkeypatch.setattr(MDE, "loss_parts", fails)
    outcome = searching("--trials", 2)
    assert outcome.status == 0 and "no trial is complete yet" in outcome.out
    assert [row["reason"] for row in report_of()["trials"]] == [reason] * 2
    assert not (FOLDER / "best.yaml").exists()


def test_one_that_needs_more_memory_than_there_is(command, shop, tmp_path):
    (tmp_path / "space.yaml").write_text("embedding_size: [64, 100000000000]\n")
    flags = [flag for flag in FLAGS if not flag.startswith("--embedding-size=")]
    flags += ["--space", tmp_path / "space.yaml", "--trials", 5]
    outcome = command("search", *flags)
    assert (outcome.status, outcome.err) == (0, "")
    rows = report_of()["trials"]
    failed = [row for row in rows if row["parameters"]["embedding_size"] > 64]
    assert failed and len(rows) == 5
    assert [row for row in rows if row["state"] == "failed"] == failed
    assert all("out of memory (" in row["reason"] and "can't allocate memory" in row["reason"] for row in failed)


def test_another_error_is_not_recorded_as_a_lack_of_memory(searching, monkeypatch):
    def fails(self, *batch):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(MDE, "loss_parts", fails)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        searching("--trials", 2)


def test_one_that_the_dataset_has_no_model_for(searching, tmp_path):
    (tmp_path / "space.yaml").write_text("blend_weights: ['', '0.1,0.2,0.7']\n")
    outcome = searching("--trials", 5, "--item-graph", "blend")
    assert (outcome.status, outcome.err) == (0, "")
    rows = report_of()["trials"]
    reasons = {row["reason"] for row in rows if row["parameters"]["blend_weights"]}
    assert reasons == {"blend_weights: 3 weights for 2 modalities (image, text)"} and len(rows) == 5
    assert all(row["state"] == "complete" for row in rows if not row["parameters"]["blend_weights"])


def enqueue(point: dict) -> None:
    """As docs/search.md says."""
    optuna.load_study(study_name="search", storage=f"sqlite:///{FOLDER}/study.db").enqueue_trial(point)


@pytest.mark.parametrize(
    "point, said",
    [
        ({"msa": "nonsense"}, "msa: nonsense is not one of cosine, infonce"),
        ({"learning_rate": -1}, "learning_rate: -1.0 must be greater than 0"),
        ({"n_layers": 3}, "n_layers is not searched; choose from learning_rate, msa_weight, msa"),
    ],
)
def test_a_point_of_ones_own_that_cannot_be_trained(searching, point, said):
    assert searching("--trials", 1).status == 0
    enqueue(point)
    enqueue({"msa": "infonce"})
    outcome = searching("--trials", 3)
    assert (outcome.status, outcome.err) == (0, "")
    rows = {row["trial"]: row for row in report_of()["trials"]}
    assert rows[1]["state"] == "failed" and rows[1]["reason"] == f"the enqueued point: {said}"
    assert f"trial 1: failed: the enqueued point: {said}; best is trial 0" in outcome.out
    assert f"- Trial 1 failed: the enqueued point: {said}" in (FOLDER / "trials.md").read_text()
    assert rows[2]["state"] == "complete" and rows[2]["parameters"]["msa"] == "infonce"
    assert searching("--trials", 4).status == 0 and len(report_of()["trials"]) == 4


def test_one_that_falls_behind_is_pruned(searching, monkeypatch):
    report = Study.report

    def behind(self, running, values, record):
        return report(self, running, values, record) or (running.trial.number == 1 and record["epochs"] == 2)

    monkeypatch.setattr(Study, "report", behind)
    outcome = searching("--trials", 3)
    assert outcome.status == 0
    rows = report_of()["trials"]
    assert [(row["trial"], row["state"]) for row in rows][-1] == (1, "pruned")
    assert rows[-1]["epochs"] == 2 and rows[-1]["rank"] is None and rows[-1]["value"] is not None
    assert "trial 1: pruned, recall@20 " in outcome.out and "3 trials: 2 complete, 1 pruned" in outcome.out
    assert not list(FOLDER.rglob("*.safetensors"))


@pytest.mark.parametrize("pruner, expected", [("median", 7), ("none", None)])
def test_pruning_begins_where_a_run_may_stop_early(searching, monkeypatch, pruner, expected):
    begun, make = [], Study.__init__

    def watched(self, *arguments, **named):
        begun.append(named["pruned_from"])
        make(self, *arguments, **named)

    monkeypatch.setattr(Study, "__init__", watched)
    assert searching("--trials", 1, "--stopping-step", 7, "--pruner", pruner).status == 0
    assert begun == [expected]


def test_checkpoints_do_not_pile_up(searched, monkeypatch):
    save, kept = Checkpoints.save, []

    def watched(self, kind, state, *tensors):
        save(self, kind, state, *tensors)
        kept.append(len(list(FOLDER.rglob("*.safetensors"))))

    monkeypatch.setattr(Checkpoints, "save", watched)
    searched("--trials", 3)
    assert max(kept) == 1 and not list(FOLDER.rglob("*.safetensors"))


def test_graphs_and_data_are_read_once(searched, monkeypatch, tmp_path):
    import mde_fast.graphs.store as store
    import mde_fast.search.running as running

    (tmp_path / "space.yaml").write_text("item_graph: [per_modality, blend]\nlearning_rate: [0.01, 0.02, 0.03]\n")
    calls = []
    for name in ("nearest_neighbours", "co_occurrence_graph"):
        make = getattr(store, name)
        monkeypatch.setattr(store, name, lambda *a, make=make: (calls.append(1), make(*a))[1])
    load = running.make_dataset
    monkeypatch.setattr(running, "make_dataset", lambda *a: (calls.append("data"), load(*a))[1])
    searched("--trials", 6, "--cache-dir", "none")
    assert calls == ["data", 1, 1, 1], "one per modality and one of the users"


# ---------------------------------------------------------------------------------------------------------------------
# Data that are not real


def test_a_stand_in_says_so_everywhere(command, search_flags, monkeypatch):
    size = StandInSize(users=160, items=120, train=640, valid=180, test=180, user_degree=20, item_degree=30)
    monkeypatch.setitem(stand_in.STAND_IN_SIZES, "baby", size)
    outcome = command("search", *search_flags, "--dataset", "baby", "--trials", 1, "--epochs", 2)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("STAND-IN DATA: synthetic")
    line = "STAND-IN: these values say nothing about real data."
    assert line in outcome.out
    assert line in Path("search/baby/trials.md").read_text()
    assert line in Path("search/baby/trials.html").read_text()
    assert f"# {line}" in Path("search/baby/best.yaml").read_text()
    assert "baby (stand-in data)" in Path("search/baby/best.yaml").read_text()
    assert report_of("search/baby")["data"] == "stand-in"


# ---------------------------------------------------------------------------------------------------------------------
# The picture


def test_the_picture_and_importances(searched, picture):
    report = searched("--trials", 9, "--epochs", 1)
    start = (FOLDER / "importance.png").read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(start[16:20], "big") > 800 and int.from_bytes(start[20:24], "big") > 300
    assert set(report["importance"]) == {"learning_rate", "msa_weight", "msa"}
    assert sum(report["importance"].values()) == pytest.approx(1)
    text = (FOLDER / "trials.md").read_text()
    share = report["importance"]["msa_weight"]
    assert f"| msa_weight | 0.001 to 1.0 (log) | {share:.2f} |" in text and "](importance.png)" in text
    page = (FOLDER / "trials.html").read_text()
    assert b64encode((FOLDER / "importance.png").read_bytes()).decode() in page


def test_few_trials_have_no_importances(searched, picture):
    report = searched("--trials", 1, "--epochs", 1)
    assert report["importance"] == {} and (FOLDER / "importance.png").read_bytes()[:4] == b"\x89PNG"
    assert "needs 8 complete trials" in (FOLDER / "trials.md").read_text()


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--trials", "0"], ["--trials", "0 is not 1 or more"]),
        (["--jobs", "-1"], ["--jobs"]),
        (["--jobs", "two"], ["--jobs", "two is not 1 or more"]),
        (["--sampler-seed", "-1"], ["--sampler-seed", "-1 is not a whole number of 0 or more"]),
        (["--sampler-seed", "two"], ["--sampler-seed", "two is not a whole number of 0 or more"]),
        (["--timeout", "soon"], ["--timeout", "soon is not a time; write 90s, 5m, 8h or 2d"]),
        (["--pruner", "best"], ["--pruner", "median"]),
        (["--space", "nowhere.yaml"], ["nowhere.yaml: cannot be read"]),
        (["--dataset", "shopp"], ["did you mean 'shop'?"]),
        (["--epochs", "0"], ["epochs: 0 must be 1 or more"]),
        (["--trial", "3"], ["unknown option trial"]),
        (["--minutes", "5"], ["minutes: a trial is trained to its end; --timeout says how long the search may take"]),
        (["--features", "image=image_feat.npy"], ["needs features of two modalities", "found image"]),
        (["--device", "gpu"], ["device: gpu is not auto"]),
        (["--lr=0.1", "--msa=cosine", "--b=1"], ["nothing to search; learning_rate, msa_weight, msa are given"]),
    ],
)
def test_refused_before_anything_is_written(searching, refused, arguments, parts):
    refused(searching(*arguments), *parts)
    assert not Path("search").exists()


@pytest.mark.parametrize("flag", ["--config", "--preset"])
def test_minutes_are_refused_from_a_file_too(searching, refused, flag):
    Path("limited.yaml").write_text("minutes: 5\n")
    refused(searching(flag, "limited.yaml"), "minutes: a trial is trained to its end")
    Path("limited.yaml").write_text("minutes:\n")
    assert searching(flag, "limited.yaml", "--trials", 1).status == 0, "no limit is no limit"


def test_without_optuna(searching, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused(searching(), "needs the package optuna", "pip install 'mde_fast[search]'")


def test_a_folder_that_cannot_be_made(searching, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(searching("--output", tmp_path / "file" / "search"), f"{tmp_path}/file/search", "Not a directory")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--epochs", 7], "another value of a fixed option (epochs: 3 then, 7 now)"),
        (["--msa", "cosine"], "another space (msa: cosine, infonce then, None now)"),
        (["--msa", "infonce"], "another space (msa: cosine, infonce then, None now)"),
        (["--split-column", "x_label"], "another value of a fixed option (split_column: None then, x_label now)"),
    ],
)
def test_other_options_are_refused(searching, refused, arguments, said):
    assert searching("--trials", 1).status == 0
    before = (FOLDER / "trials.json").read_bytes()
    refused(searching("--trials", 2, *arguments), said)
    assert (FOLDER / "trials.json").read_bytes() == before


def test_other_data_are_refused(searching, refused, shop):
    assert searching("--trials", 1).status == 0
    np.save(shop / "text_feat.npy", np.random.default_rng(1).random((40, 8)))
    refused(searching("--trials", 2), "another dataset (features: ")


def test_data_may_move_and_the_device_change(searching, shop, tmp_path):
    assert searching("--trials", 1).status == 0
    moved = write_shop(tmp_path / "elsewhere")
    outcome = searching("--trials", 2, "--dataset", moved, "--output", FOLDER, "--device", "auto")
    assert outcome.status == 0, outcome.err
    assert len(report_of()["trials"]) == 2


def test_the_defaults_of_options_are_those_of_a_run(searched):
    fixed = searched("--trials", 1)["fixed"]
    for name in ("embedding_size", "seed", "epochs", "item_graph", "nlt_detach"):
        assert fixed[name] == FIXED.get(name, schema("mde")[name].default)


def test_no_figure_of_the_report_is_nan(searched):
    text = json.dumps(searched("--trials", 2))
    assert "NaN" not in text and "Infinity" not in text
