"""The experiments on a small data set: what is trained, reported, resumed and refused."""

import json
import re
import shutil
import signal
import statistics
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from processes import start, wait_for
from small_runs import FLAGS, STEPS, assert_same_result, files, metrics, write_shop

from mde_fast.data import stand_in
from mde_fast.data.stand_in import StandInSize
from mde_fast.files.lock import exclusive
from mde_fast.models.mde import MDE
from mde_fast.options import difference
from mde_fast.runs.config import schema
from mde_fast.runs.run import RunFolder

ABLATION = ("without-mda", "without-msa", "without-nlt", "mde")
OUTPUT = Path("experiments/shop")


@pytest.fixture
def experiments(command, shop):
    """experiments("table2", "--seeds", ...) -> Outcome of two epochs on the small data set; later flags win."""
    return lambda *arguments: command("experiments", *FLAGS, "--epochs=2", "--cache-dir=graphs", *arguments)


@pytest.fixture
def ablation(experiments):
    """Table 2 of two seeds, in OUTPUT."""
    outcome = experiments("table2", "--seeds", "999,1000")
    assert outcome.status == 0, outcome
    return outcome


def document(name: str, output: Path = OUTPUT) -> dict:
    return json.loads((output / f"{name}.json").read_text())


def rows_of(name: str, output: Path = OUTPUT) -> dict[str, dict]:
    return {row["name"]: row for row in document(name, output)["rows"]}


def run_of(row: str, seed: int = 999) -> Path:
    return OUTPUT / "runs" / f"{row}-seed{seed}"


def options_of(row: str, seed: int = 999) -> dict:
    """All options of the run of a row."""
    return RunFolder.open(run_of(row, seed)).config().values()


def test_every_row_is_trained_with_its_own_options(ablation):
    changed = {"without-mda": ("mda_weight", 0.0), "without-msa": ("msa_weight", 0.0), "without-nlt": ("nlt", "none")}
    whole = options_of("mde")
    for row in ABLATION:
        for seed in (999, 1000):
            differing = {change.name: change.now for change in difference(whole, options_of(row, seed))}
            assert differing.pop("seed", 999) == seed
            assert list(differing.items()) == ([changed[row]] if row in changed else [])


def test_means_and_deviations_are_those_of_the_runs(ablation):
    for row, reported in rows_of("table2").items():
        of_runs = [metrics(run_of(row, seed))["test"] for seed in (999, 1000)]
        for metric in ("recall@5", "precision@5", "map@5", "ndcg@5", "recall@20", "ndcg@20"):
            values = [test[metric] for test in of_runs]
            assert reported["mean"][metric] == pytest.approx(statistics.fmean(values), abs=1e-12)
            assert reported["standard_deviation"][metric] == pytest.approx(statistics.stdev(values), abs=1e-12)
        assert [run["best_epoch"] for run in reported["runs"]] == [
            metrics(run_of(row, seed))["best_epoch"] for seed in (999, 1000)
        ]


def test_tests_are_paired_over_the_test_users(ablation):
    rows = rows_of("table2")
    assert "against_reference" not in rows["mde"]
    for row in ABLATION[:3]:
        test = rows[row]["against_reference"]["recall@5"]
        assert test["users"] == 60 and test["seeds"] == [999, 1000]
        assert test["difference"] == pytest.approx(rows[row]["mean"]["recall@5"] - rows["mde"]["mean"]["recall@5"])


def test_the_report_says_what_it_rests_on(ablation):
    text, found = (OUTPUT / "table2.md").read_text(), document("table2")
    assert text.startswith("# Table II: ablation, shop\n\n- Data: shop, real.")
    for part in ("Seeds: 999, 1000.", "epochs 2", "below full MDE?", "n users", "mda_weight: 0.0", "torch "):
        assert part in text
    assert "No figures are known for shop." in text and "Not complete" not in text and "STAND-IN" not in text
    assert found["complete"] and found["data"] == "real" and found["seeds"] == [999, 1000]
    assert found["options"]["epochs"] == 2 and found["options"]["mda_weight"] == 0.01
    assert "Table II: ablation\n\n| row | from |" in ablation.out
    assert "reports in experiments/shop: table2.html, table2.md, table2.json\n" in ablation.out


def test_the_page_says_what_the_text_says(ablation):
    page = (OUTPUT / "table2.html").read_text()
    assert "<h1>Table II: ablation, shop</h1>" in page and "below full MDE?</th>" in page
    for row in rows_of("table2").values():
        mean, deviation = (row[name]["recall@20"] for name in ("mean", "standard_deviation"))
        assert f">{row['label']}</td>" in page and f">{mean:.4f} ± {deviation:.4f}</td>" in page


def test_the_same_command_again_trains_nothing(ablation, experiments):
    before = {row: (run_of(row) / "metrics.json").stat().st_mtime_ns for row in ABLATION}
    outcome = experiments("table2", "--seeds", "999,1000")
    assert outcome.status == 0 and "8 runs: 8 finished already, 0 to train" in outcome.out
    assert before == {row: (run_of(row) / "metrics.json").stat().st_mtime_ns for row in ABLATION}


def test_experiments_share_runs(ablation, experiments):
    outcome = experiments("precision", "table2", "--seeds", "999,1000,1001")
    assert outcome.status == 0 and "15 runs: 8 finished already, 7 to train" in outcome.out
    assert rows_of("precision")["mde"]["mean"] == rows_of("table2")["mde"]["mean"]
    assert options_of("mde-bf16")["precision"] == "bf16"
    test = rows_of("precision")["mde-bf16"]["against_reference"]["recall@20"]
    ours = [rows_of("precision")[row]["mean"]["recall@20"] for row in ("mde-bf16", "mde")]
    assert test["percent"] == pytest.approx(100 * (ours[0] / ours[1] - 1))


def test_figure_2(experiments):
    outcome = experiments("figure2", "--seeds", 999, "--epochs", 1)
    assert outcome.status == 0, outcome.err
    assert (OUTPUT / "figure2.png").read_bytes()[:4] == b"\x89PNG"
    assert "![Recall@5 by preference](figure2.png)" in (OUTPUT / "figure2.md").read_text()
    assert b64encode((OUTPUT / "figure2.png").read_bytes()).decode() in (OUTPUT / "figure2.html").read_text()
    assert len(rows_of("figure2")) == 11 and document("figure2")["modalities"] == ["image", "text"]
    assert options_of("fixed-0.3")["nlt"] == "fixed:0.3"


def test_table_1(experiments):
    assert experiments("table1", "--seeds", 999).status == 0
    assert metrics(run_of("lightgcn"))["model"] == "lightgcn"
    assert options_of("dragon-like")["fusion_nodes"] == "users"
    assert set(options_of("lightgcn")) == set(schema("lightgcn")), "its own options and no other's"
    text = (OUTPUT / "table1.md").read_text()
    assert "No preset: options that are not given have their defaults." in text
    assert "Preset default of lightgcn: reg_weight 0.0001; given otherwise: learning_rate." in text


def test_a_model_without_features_does_not_make_stand_in_features_real(experiments, shop):
    for path in shop.glob("*_feat.npy"):
        path.unlink()
    assert experiments("table1", "--seeds", 999, "--epochs", 1).status == 0
    assert metrics(run_of("lightgcn"))["data"] == "real" and document("table1")["data"] == "stand-in features"


def test_published_figures_stand_beside_ours(experiments, shop):
    baby = shop.with_name("baby")
    shop.rename(baby)
    (baby / "shop.inter").rename(baby / "baby.inter")
    assert experiments("table2", "--dataset", "baby", "--seeds", 999, "--epochs", 4).status == 0
    lines = Path("experiments/baby/table2.md").read_text().splitlines()
    ours = next(number for number, line in enumerate(lines) if line.startswith("| w/o NLT | here"))
    assert lines[ours + 1].startswith("| w/o NLT | published (paper) | 0.0385 |")


def test_the_order_of_the_rows_stands_beside_the_published_one(experiments, shop):
    baby = shop.with_name("baby")
    shop.rename(baby)
    (baby / "shop.inter").rename(baby / "baby.inter")
    assert experiments("table1", "--dataset", "baby", "--seeds", 999, "--epochs", 1).status == 0
    found = document("table1", Path("experiments/baby"))
    means = {row["label"]: row["mean"] for row in found["rows"]}
    orders = {("MMRec" in order["source"], order["metric"]): order for order in found["order"]}
    assert {metric for _, metric in orders} <= set(means["MDE"])
    of_mmrec = orders[True, "recall@20"]
    assert of_mmrec["rows"]["VBPR"] == {"here": means["VBPR"]["recall@20"], "published": 0.0663}
    assert "MDE" not in of_mmrec["rows"] and "LightGCN" not in orders[False, "recall@5"]["rows"]
    text = (Path("experiments/baby") / "table1.md").read_text()
    percent = f"{100 * (means['VBPR']['recall@20'] / 0.0663 - 1):+.1f}"
    (line,) = re.findall(r"\| Recall@20 \| MMRec \| VBPR \| (\d) \| \d \| 0.0663 \| .* \| (.*) \|", text)
    assert line == ("7", percent), "MMGCN alone is below it there"
    assert f"8 rows, MMRec: Kendall's tau {of_mmrec['kendall_tau']:.2f}" in text


def test_rows_have_the_best_options_of_their_searches(experiments, refused):
    for model, option in (
        ("lightgcn", "n_layers: 3"),
        ("vbpr", "reg_weight: 0.5"),
        ("mde", "mda_weight: 0.3\nseed: 4"),
    ):
        folder = Path("searches") / model
        folder.mkdir(parents=True)
        (folder / "best.yaml").write_text(f"# Found by hand.\nmodel: {model}\n{option}\n")
    outcome = experiments("table1", "--seeds", 999, "--epochs", 1, "--searches", "searches")
    assert outcome.status == 0, outcome.err
    assert options_of("lightgcn")["n_layers"] == 3 and options_of("vbpr")["reg_weight"] == 0.5
    assert options_of("mde")["mda_weight"] == 0.3 and options_of("mde")["seed"] == 999
    assert options_of("bm3")["n_layers"] == 1, "its own preset"
    settings = " ".join(document("table1")["settings"])
    assert 'Preset searches/vbpr/best.yaml of vbpr: reg_weight 0.5. It says: "Found by hand."' in settings
    refused(experiments("table1", "--searches", "nowhere"), "nowhere has no MODEL/best.yaml", "mde_fast.search")


@pytest.fixture
def interrupt_at(monkeypatch):
    """interrupt_at(n): Ctrl-C inside the n-th step of this process."""
    original, done = MDE.loss_parts, []

    def interrupt_at(number: int) -> None:
        def loss_parts(self, *batch):
            done.append(1)
            if len(done) == number:
                signal.raise_signal(signal.SIGINT)
            return original(self, *batch)

        monkeypatch.setattr(MDE, "loss_parts", loss_parts)

    return interrupt_at


def test_interrupted_and_continued(experiments, interrupt_at):
    assert experiments("table2", "--seeds", 999, "--output", "undisturbed").status == 0
    interrupt_at(3 * STEPS + 2)  # in the second run's second epoch
    outcome = experiments("table2", "--seeds", 999)
    assert outcome.status == 130 and "interrupted: everything is saved, the same command goes on" in outcome.out
    assert "**Not complete" in (OUTPUT / "table2.md").read_text()
    rows = rows_of("table2")
    assert rows["mde"]["mean"] and not rows["without-msa"]["mean"]
    assert rows["without-mda"]["runs"][0]["state"] == "not finished: 1 epochs are done"
    assert rows["without-nlt"]["runs"][0]["state"] == "not begun"
    outcome = experiments("table2", "--seeds", 999)
    assert outcome.status == 0 and "4 runs: 1 finished already, 3 to train" in outcome.out
    for row in ABLATION:
        assert_same_result(run_of(row), Path("undisturbed/runs") / f"{row}-seed999")
    assert document("table2")["complete"]


def test_a_run_that_fails_does_not_stop_the_others(experiments):
    in_the_way = run_of("without-msa")
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where a run should be")
    outcome = experiments("table2", "--seeds", 999)
    assert outcome.status == 1 and "error: without-msa-seed999 failed: " in outcome.err
    rows = rows_of("table2")
    assert rows["without-msa"]["runs"][0]["state"].startswith("failed: ")
    assert all(rows[row]["mean"] for row in ABLATION if row != "without-msa")
    assert "failed: " in (OUTPUT / "table2.md").read_text()
    in_the_way.unlink()
    assert experiments("table2", "--seeds", 999).status == 0 and document("table2")["complete"]


def test_other_options_are_refused_before_anything_is_trained(ablation, experiments, refused):
    before = files(OUTPUT)
    outcome = experiments("table2", "--seeds", "998,999", "--mda-weight", 0.5, "--lr", 0.02)
    refused(outcome, run_of("mde"), "mda_weight 0.01 (now 0.5)", "learning_rate 0.01 (now 0.02)", "--output")
    refused(outcome, "go on with --mde.mda-weight 0.01 --mde.learning-rate 0.01")
    outcome = experiments("table2", "--seeds", 999, "--topk", 7)
    refused(outcome, "topk [5, 10, 20, 50] (now [7]); go on with --topk 5,10,20,50")
    refused(experiments("table2", "--seeds", 999, "--epochs", 1), run_of("mde"), "2 epochs", "--epochs 1")
    assert files(OUTPUT) == before


def test_more_epochs_go_on(experiments):
    assert experiments("precision", "--seeds", 999, "--epochs", 1).status == 0
    outcome = experiments("precision", "--seeds", 999, "--epochs", 3)
    assert outcome.status == 0 and "2 to train" in outcome.out
    assert experiments("precision", "--seeds", 999, "--epochs", 3, "--output", "at-once").status == 0
    assert_same_result(run_of("mde"), Path("at-once/runs/mde-seed999"))


def test_runs_that_stopped_early_keep_no_last_checkpoint(experiments, command, refused):
    flags = ("precision", "--seeds", 999, "--epochs", 300, "--stopping-step", 1)
    assert experiments(*flags).status == 0
    run = run_of("mde")
    assert metrics(run)["epochs_run"] < 300
    assert not [name for name in files(run) if "last" in name]
    assert json.loads(command("evaluate", run, "--json").out)["test"] == metrics(run)["test"]
    refused(command("train", "--resume", run, "--epochs", 400), run, "is over", "no last checkpoint")
    assert "2 finished already" in experiments(*flags).out


def test_report_only(ablation, experiments, refused):
    (OUTPUT / "table2.md").unlink()
    shutil.rmtree(run_of("without-nlt"))
    outcome = experiments("table2", "--seeds", "999,1000", "--report-only")
    assert outcome.status == 0 and "not everything is trained yet" in outcome.out
    assert not run_of("without-nlt").exists()
    row = rows_of("table2")["without-nlt"]
    assert row["runs"][0]["state"] == "not begun" and row["mean"] == row["runs"][1]["test"]
    assert row["against_reference"]["recall@5"]["seeds"] == [1000]
    refused(experiments("table2", "--report-only", "--output", "nowhere"), "nowhere: no such folder", "--report-only")


def test_side_by_side(experiments, monkeypatch):
    """One fails, the other is what it is alone, an unfinished one goes on."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_of("mde", 1000).parent.mkdir(parents=True)
    run_of("mde", 1000).write_text("a file where a run should be")
    assert experiments("precision", "--seeds", 999, "--epochs", 1).status == 0
    (run_of("mde-bf16") / "metrics.json").unlink()  # as if it had been killed on the way
    (run_of("mde") / "metrics.json").unlink()
    outcome = experiments("precision", "--seeds", "999,1000", "--jobs", 3)
    assert outcome.status == 1 and "3 processes side by side, 1 CPU thread each" in outcome.out
    assert "mde-seed1000 failed: " in outcome.err and str(run_of("mde", 1000)) in outcome.err
    assert "mde-seed999: goes on" in outcome.out and "mde-bf16-seed1000: begins" in outcome.out
    assert experiments("precision", "--seeds", "999,1000", "--output", "alone").status == 0
    for row, seed in (("mde", 999), ("mde-bf16", 999), ("mde-bf16", 1000)):
        assert_same_result(run_of(row, seed), Path("alone/runs") / f"{row}-seed{seed}")


def test_side_by_side_a_signal_reaches_all(shop):
    flags = [*FLAGS, "--epochs=100000", "--stopping-step=100000", "--seeds=999", "--jobs=2"]
    runs = [run_of("mde"), run_of("mde-bf16")]
    with start("experiments", "precision", *flags) as process:
        wait_for(lambda: all((run / "metrics.jsonl").exists() for run in runs), process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert out.count("interrupted, it goes on with the same command") == 2 and "failed" not in out + err
    for run in runs:
        assert metrics(run)["status"] == "interrupted" and RunFolder(run).checkpoints.has("last")
    with exclusive(OUTPUT, "wait"):  # nobody is left who trains
        pass


def test_one_command_at_a_time(experiments, refused):
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with exclusive(OUTPUT, "wait"):
        refused(experiments("table2"), OUTPUT, "another command trains into it", "--report-only")


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--seeds", "999"], ["EXPERIMENT"]),
        (["table9"], ["table9", "table1"]),
        (["table2", "--seed", "3"], ["--seed", "--seeds"]),
        (["table2", "--model", "mde"], ["--model", "leave it out"]),
        (["table2", "--minutes", "5"], ["--minutes: every run is trained to its end", "the same command goes on"]),
        (["table2", "--without-mda.mda-weight", "1"], ["--without-mda.mda-weight: is what makes it that row"]),
        (["table2", "--without-mda.a=1"], ["--without-mda.a: is what makes it that row; leave it out"]),
        (["figure2", "--fixed-0.3.nlt", "free"], ["--fixed-0.3.nlt: is what makes it that row"]),
        (["figure2", "--mde.nlt", "free"], ["--mde.nlt: figure2 is about this option and sets it"]),
        (["precision", "--mde.precision=bf16"], ["--mde.precision: precision is about this option"]),
        (["table2", "--mde.seed", "3"], ["--mde.seed: every row is trained once for each of --seeds"]),
        (["table2", "--mde.model", "lightgcn"], ["--mde.model: every row says which model it is"]),
        (["table2", "--mde.minutes", "5"], ["--mde.minutes: every run is trained to its end"]),
        (["table1", "--lightgcn.dataset", "baby"], ["all rows are compared on the same data", "give --dataset"]),
        (["table2", "--mde.valid-metric=ndcg@5"], ["by the same metric; give --valid-metric"]),
        (["table1", "--lightgcn.mda-weight", "1"], ["--lightgcn.mda-weight: mda-weight is an option of mde, not of"]),
        (["table2", "--mde.learning-rat", "1"], ["--mde.learning-rat: unknown option", "did you mean learning_rate?"]),
        (["table2", "--mde.learning-rate", "fast"], ["--mde.learning-rate: learning_rate=fast: needs a number"]),
        (["table2", "--mde.learning-rate", "0"], ["learning_rate: 0.0 must be greater than 0"]),
        (["table2", "--mde.learning-rate"], ["--mde.learning-rate: needs a value"]),
        (["table2", "--lightgcn.lr", "1"], ["--lightgcn.lr: no row of table2; choose mde, without-mda"]),
        (["table2", "--mdee.lr", "1"], ["--mdee.lr: there is no row mdee; choose from mde, without-mda"]),
        (["figure2", "--nlt", "free"], ["--nlt", "figure2"]),
        (["table2", "precision", "--precision", "bf16"], ["--precision", "leave it out"]),
        (["table2", "--seeds", "1,x"], ["--seeds", "seed=x: needs a whole number"]),
        (["table2", "--seeds", "1,1"], ["--seeds", "different"]),
        (["table2", "--seeds", ","], ["--seeds", "one or more"]),
        (["table2", "--seeds=-4"], ["seed: -4 must be 0 or more"]),
        (["table2", "--jobs", "0"], ["--jobs", "1 or more"]),
        (["table2", "--dataset", "shopp"], ["dataset 'shopp' not found", "did you mean 'shop'?"]),
        (["table2", "--learning-rate", "0"], ["learning_rate: 0.0"]),
        (["table2", "--device", "tpu"], ["device: tpu"]),
    ],
)
def test_refused(experiments, refused, arguments, parts):
    refused(experiments(*arguments), *parts)
    assert not Path("experiments").exists()


def test_a_file_of_options_is_quoted(experiments, refused):
    Path("best.yaml").write_text("# Found by a search:\n# 40 trials.\n\nmda_weight: 0.2\nseed: 5\n# not the head\n")
    assert experiments("precision", "--seeds", 999, "--config", "best.yaml").status == 0
    text = (OUTPUT / "precision.md").read_text()
    assert 'Settings from best.yaml: mda_weight 0.2. It says: "Found by a search: 40 trials."' in text
    assert options_of("mde")["mda_weight"] == 0.2


def test_a_flag_reaches_all_rows_whose_model_has_the_option(experiments):
    flags = ["--learning-rate", 0.02, "--msa-weight", 0.3, "--reg-weight", 0.01]
    outcome = experiments("table1", "--seeds", 999, "--epochs", 1, *flags)
    assert outcome.status == 0, outcome.err
    rows = {row: options_of(row) for row in ("lightgcn", "dragon-like", "mde")}
    assert [rows[row]["learning_rate"] for row in rows] == [0.02] * 3
    assert [rows[row]["reg_weight"] for row in rows] == [0.01] * 3, "also where LightGCN's preset says otherwise"
    assert [rows[row].get("msa_weight") for row in rows] == [None, 0.0, 0.3], "a DRAGON-like row has none by nature"


def test_a_flag_of_a_row_reaches_that_row_alone(experiments):
    outcome = experiments("table1", "--seeds", 999, "--epochs", 1, "--mde.learning-rate", 0.03, "--lightgcn.n_layers=1")
    assert outcome.status == 0, outcome.err
    rows = {row: options_of(row) for row in ("lightgcn", "dragon-like", "mde")}
    assert [rows[row]["learning_rate"] for row in rows] == [0.01, 0.01, 0.03], "over the flag for all rows"
    assert [rows[row]["n_layers"] for row in rows] == [1, 2, 2]
    text = (OUTPUT / "table1.md").read_text()
    assert "Given for one row alone: mde: learning_rate 0.03; lightgcn: n_layers 1." in text


def test_a_flag_of_a_row_whose_name_has_a_dot(experiments):
    outcome = experiments("figure2", "--seeds", 999, "--epochs", 1, "--fixed-0.3.reg-weight", 0.5)
    assert outcome.status == 0, outcome.err
    assert (options_of("fixed-0.3")["reg_weight"], options_of("fixed-0.4")["reg_weight"]) == (0.5, 0.001)


def test_preset_file_flag_and_flag_of_the_row(command, shop):
    """The later wins; a preset that was named is MDE's, LightGCN has its own."""
    Path("preset.yaml").write_text("lr: 0.1\nlambda: 0.1\nmsa_weight: 0.1\nuser_k: 5\nminutes: 1\nseed: 3\n")
    Path("file.yaml").write_text("lambda: 0.2\nmsa_weight: 0.2\nuser_k: 6\n")
    flags = [flag for flag in FLAGS if "learning-rate" not in flag and "preset" not in flag]
    layers = ["--preset=preset.yaml", "--config=file.yaml", "--user-k=7", "--msa-weight=0.3", "--mde.user-k=8"]
    outcome = command("experiments", "table1", *flags, *layers, "--seeds=999", "--epochs=1")
    assert outcome.status == 0, outcome.err
    names = ("learning_rate", "reg_weight", "msa_weight", "user_k", "knn_k", "minutes", "seed")
    seen = {row: [options_of(row).get(name) for name in names] for row in ("mde", "dragon-like", "lightgcn")}
    assert seen == {
        "mde": [0.1, 0.2, 0.3, 8, 10, None, 999],
        "dragon-like": [0.1, 0.2, 0.0, 7, 10, None, 999],
        "lightgcn": [0.001, 0.2, None, None, None, None, 999],
    }
    text = (OUTPUT / "table1.md").read_text()
    assert "Preset preset.yaml of mde: learning_rate 0.1; given otherwise: reg_weight, msa_weight, user_k." in text
    assert "Settings from file.yaml: reg_weight 0.2." in text


def test_an_option_of_a_model_that_is_not_trained_is_refused(experiments, refused):
    Path("theirs.yaml").write_text("model: lightgcn\nfrobnicate: 1\n")
    refused(experiments("table2", "--config", "theirs.yaml"), "theirs.yaml: unknown option frobnicate")
    Path("theirs.yaml").write_text("model: lightgcn\nreg_weight: 0.1\n")
    refused(experiments("table2", "--preset", "theirs.yaml"), "theirs.yaml is of the model lightgcn, not of mde")
    assert not Path("experiments").exists()


def test_what_a_file_may_not_set_is_passed_over_with_a_line(experiments):
    Path("best.yaml").write_text("seed: 5\nminutes: 3\nmodel: mde\nprecision: bf16\nreg_weight: 0.1\n")
    outcome = experiments("precision", "--seeds", 999, "--epochs", 1, "--config", "best.yaml")
    assert outcome.status == 0, outcome.err
    for name in ("seed", "minutes", "model", "precision"):
        assert f"best.yaml: {name} is passed over: " in outcome.out
    seen = options_of("mde")
    assert (seen["seed"], seen["minutes"], seen["precision"], seen["reg_weight"]) == (999, None, "fp32", 0.1)


def test_runs_of_0_1_0_go_on_but_not_with_what_a_flag_of_the_row_changes(experiments, refused):
    """There LightGCN's preset won over flags for all rows, so that those are not asked of its runs."""
    old = Path(__file__).parents[1] / "old_runs"
    shutil.rmtree("data")
    for name in ("data", "experiments"):
        shutil.copytree(old / name, name)
    flags = ["table1", "--seeds", 999, "--output=experiments", "--report-only", "--cache-dir=none", "--data-dir=data"]
    outcome = experiments(*flags)
    assert outcome.status == 0, outcome.err
    said = ("learning_rate 0.001 (now 0.02); go on with --lightgcn.learning-rate 0.001",)
    refused(experiments(*flags, "--lightgcn.learning-rate", 0.02), "experiments/runs/lightgcn-seed999", *said)


def test_stand_in_data_are_called_so(experiments, shop, monkeypatch):
    size = StandInSize(users=160, items=120, train=640, valid=180, test=180, user_degree=20, item_degree=30)
    monkeypatch.setitem(stand_in.STAND_IN_SIZES, "baby", size)
    assert experiments("table2", "--dataset", "baby", "--seeds", 999, "--epochs", 1).status == 0
    assert "**STAND-IN: these figures say nothing about real data.**" in Path("experiments/baby/table2.md").read_text()
    assert "STAND-IN: these figures say nothing about real data." in Path("experiments/baby/table2.html").read_text()
    assert document("table2", Path("experiments/baby"))["data"] == "stand-in"


def test_stand_in_features_are_called_so(experiments, shop):
    for path in shop.glob("*_feat.npy"):
        path.unlink()
    assert experiments("precision", "--seeds", 999, "--epochs", 1).status == 0
    assert "**STAND-IN FEATURES: these figures say nothing about real data.**" in (OUTPUT / "precision.md").read_text()


def test_data_that_changed_in_between(ablation, experiments, refused, shop):
    shutil.rmtree(shop)
    write_shop(shop.parent)
    rng = np.random.default_rng(3)
    lines = (shop / "shop.inter").read_text().splitlines()
    (shop / "shop.inter").write_text("\n".join([lines[0], *(lines[row] for row in 1 + rng.permutation(500))]))
    refused(experiments("table2", "--seeds", "999,1000"), "trained on other data than shop")
