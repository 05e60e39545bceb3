"""What is compared, and what was published of it."""

import pytest
import yaml

from mde_fast.data.options import DataOptions
from mde_fast.experiments.published import published_rows
from mde_fast.experiments.rows import (
    EXPERIMENTS,
    REFERENCE,
    REFUSED,
    ROWS,
    SYSTEMS,
    Layers,
    flag_of,
    refused_options,
    row_config,
    row_models,
)
from mde_fast.models import model_names
from mde_fast.runs import presets
from mde_fast.runs.config import make_config, schema

OF_LIGHTGCN = [name for name in ROWS if ROWS[name].model == "lightgcn"]
OF_MDE = [name for name in ROWS if ROWS[name].model == "mde"]


@pytest.fixture
def own_presets(tmp_path, monkeypatch):
    """own_presets(mde={...}, lightgcn={...}) makes these the presets of the dataset shop."""

    def own_presets(**models) -> None:
        for model, options in models.items():
            (tmp_path / f"{model}.yaml").write_text(yaml.safe_dump({"shop": options}))
        monkeypatch.setattr(presets, "FOLDER", tmp_path)

    return own_presets


def values(row: str, *, preset=None, given=None, of_row=None, **others) -> dict:
    """All options of a row on the dataset shop."""
    return row_config(Layers("shop", preset, given or {}, of_row or {}, **others), row, seed=7).values()


@pytest.mark.parametrize("name", ROWS)
def test_every_row_can_be_trained(name):
    common = {"learning_rate": 0.5, "mda_weight": 0.3}
    config = row_config(Layers("shop", "none", common), name, seed=7)
    assert (config.model, config.training.seed, config.data.dataset) == (ROWS[name].model, 7, "shop")
    of_row = config.values()
    expected = {**{option: common[option] for option in common if option in of_row}, **ROWS[name].options}
    assert expected["learning_rate"] == 0.5 and {option: of_row[option] for option in expected} == expected


@pytest.mark.parametrize("name", ROWS)
def test_without_a_preset_and_a_word_a_row_has_defaults_beside_its_own(own_presets, name):
    own_presets()
    expected = {"dataset": "shop", "seed": 7, "model": ROWS[name].model, **ROWS[name].options}
    assert values(name) == make_config(expected).values()


def test_an_option_reaches_all_rows_whose_model_has_it():
    given = {"learning_rate": 0.5, "mda_weight": 0.3, "n_layers": 1}
    for row in (*OF_MDE, *OF_LIGHTGCN):
        of_row = values(row, given=given)
        assert of_row["learning_rate"] == 0.5 and of_row["n_layers"] == 1
        if "mda_weight" not in ROWS[row].options:
            assert of_row.get("mda_weight") == (0.3 if row in OF_MDE else None)
    assert OF_LIGHTGCN


def test_what_makes_a_row_that_row_nothing_else_sets(own_presets):
    own_presets(mde={"mda_weight": 0.1})
    assert (
        values("without-mda", given={"mda_weight": 0.2}, of_row={"without-mda": {"mda_weight": 0.3}})["mda_weight"] == 0
    )


def test_default_preset_given_row(own_presets):
    """Later layers win: the preset of the row's model, then file and flags, then the flags of the row alone."""
    own_presets(mde={"learning_rate": 0.01, "reg_weight": 0.01, "user_k": 5}, lightgcn={"reg_weight": 0.02})
    given, of_row = {"learning_rate": 0.02}, {"mde": {"learning_rate": 0.03}}
    seen = {row: values(row, given=given, of_row=of_row) for row in ("mde", "without-msa", "lightgcn")}
    assert [seen[row]["learning_rate"] for row in seen] == [0.03, 0.02, 0.02]
    assert [seen[row]["reg_weight"] for row in seen] == [0.01, 0.01, 0.02]
    assert [seen[row].get("user_k") for row in seen] == [5, 5, None]
    assert seen["mde"]["knn_k"] == schema("mde")["knn_k"].default
    assert values("lightgcn", given={"reg_weight": 0.5})["reg_weight"] == 0.5, "a flag wins over LightGCN's preset, too"


def test_a_preset_that_was_named_is_mde_s_and_lightgcn_keeps_its_own(own_presets, tmp_path):
    own_presets(mde={"reg_weight": 0.1}, lightgcn={"reg_weight": 0.2})
    assert values("mde", preset="none")["reg_weight"] == schema("mde")["reg_weight"].default
    assert values("lightgcn", preset="none")["reg_weight"] == 0.2
    (tmp_path / "mine.yaml").write_text("reg_weight: 0.3\nmda: fro\n")
    mine = str(tmp_path / "mine.yaml")
    assert (values("mde", preset=mine)["reg_weight"], values("lightgcn", preset=mine)["reg_weight"]) == (0.3, 0.2)


def test_data_and_metric_of_a_preset_are_those_of_all_rows(tmp_path):
    """Else rows would be compared on different data."""
    (tmp_path / "best.yaml").write_text("dataset: mall\nsplit_seed: 3\nvalid_metric: ndcg@10\nlearning_rate: 0.5\n")
    best = str(tmp_path / "best.yaml")
    for row in ("mde", "dragon-like", "lightgcn"):
        of_row = values(row, preset=best)
        assert (of_row["dataset"], of_row["split_seed"], of_row["valid_metric"]) == ("mall", 3, "ndcg@10")
    assert values("lightgcn", preset=best, given={"dataset": "shop"})["dataset"] == "shop"
    assert values("lightgcn", preset=best)["learning_rate"] != 0.5


def test_what_only_rows_and_experiments_set_is_passed_over_in_a_preset(tmp_path):
    text = "model: mde\nseed: 3\nminutes: 5\nprecision: bf16\nreg_weight: 0.3\n"
    (tmp_path / "best.yaml").write_text(text)
    of_row = values("mde", preset=str(tmp_path / "best.yaml"), refused=refused_options(["precision"]))
    assert (of_row["seed"], of_row["minutes"], of_row["precision"], of_row["reg_weight"]) == (7, None, "fp32", 0.3)


def test_what_only_rows_and_experiments_set():
    assert set(REFUSED) == {"seed", "model", "minutes"} == set(refused_options(["table1", "table2"]))
    assert set(refused_options(["table2", "figure2", "precision"])) == {*REFUSED, "nlt", "precision"}
    assert refused_options(["figure2"])["nlt"] == "figure2 is about this option and sets it; leave it out"


def test_the_models_of_experiments():
    assert row_models(["table1"])[0] == "mde" and row_models(["table2", "figure2"]) == ("mde",)
    assert {"mde", *(system.lower() for system in SYSTEMS)} == set(row_models(["table1"])) <= set(model_names())
    assert set(row_models(EXPERIMENTS)) <= set(model_names())


def test_a_row_has_flags_of_its_own_but_for_what_all_must_share():
    options = schema("mde")
    assert flag_of(options["learning_rate"], "mde") == "--mde.learning-rate"
    assert flag_of(options["nlt_detach"], "fixed-0.3") == "--fixed-0.3.nlt-detach"
    assert {flag_of(entry, "mde") for entry in DataOptions.schema().values()} >= {"--dataset", "--split-seed"}
    assert flag_of(options["valid_metric"], "mde") == "--valid-metric"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_s_own_options_are_options_of_its_model_and_not_its_defaults(name):
    defaults = make_config({"model": ROWS[name].model}).values()
    for option, value in ROWS[name].options.items():
        assert option in defaults
        assert defaults[option] != value or name == "dragon-like", option


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_compares_with_the_whole_model(name):
    rows = EXPERIMENTS[name].rows
    assert REFERENCE in rows and set(rows) <= set(ROWS) and len(set(rows)) == len(rows) > 1


def test_the_preferences_of_figure_2():
    shares = [ROWS[name].options["nlt"] for name in EXPERIMENTS["figure2"].rows if name.startswith("fixed")]
    assert shares == [f"fixed:0.{tenth}" for tenth in range(1, 10)]


@pytest.mark.parametrize("dataset", ["baby", "sports", "clothing"])
def test_the_papers_tables_agree_on_mde(dataset):
    tables = [{row["row"]: row["metrics"] for row in published_rows(name, dataset)} for name in ("table1", "table2")]
    assert tables[0]["MDE"]["recall@5"] == tables[1]["MDE"]["recall@5"]
    assert max(row["recall@5"] for row in tables[1].values()) == tables[1]["MDE"]["recall@5"]
    for values in tables[0].values():
        if "recall@5" in values:
            assert values["recall@5"] > values["ndcg@5"] > values["map@5"] > values["precision@5"]


def test_published_facts():
    baby = {(row["row"], row["source"][:3]): row["metrics"] for row in published_rows("table1", "baby")}
    assert baby["MDE", "MDE"] == {"recall@5": 0.0414, "precision@5": 0.0091, "map@5": 0.0219, "ndcg@5": 0.0273}
    assert baby["LightGCN", "the"] == {"recall@20": 0.0754, "ndcg@20": 0.0328}
    ablation = {row["row"]: row["metrics"]["recall@5"] for row in published_rows("table2", "clothing")}
    assert ablation == {"w/o MDA": 0.0386, "w/o MSA": 0.0394, "w/o NLT": 0.0373, "MDE": 0.0402}


def test_nothing_was_published_of_other_data():
    assert published_rows("table1", "tiktok") == published_rows("figure2", "baby") == []


@pytest.mark.parametrize(
    "experiment, rows",
    [("table1", {"MDE", *SYSTEMS}), ("table2", {"w/o MDA", "w/o MSA", "w/o NLT", "MDE"})],
)
def test_rows_stand_beside_their_published_ones(experiment, rows):
    published = {row["row"] for row in published_rows(experiment, "baby")}
    assert {ROWS[name].published for name in EXPERIMENTS[experiment].rows} - {None} == rows <= published
