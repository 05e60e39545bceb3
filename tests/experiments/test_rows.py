"""What is compared, and what was published of it."""

import pytest

from mde_fast.experiments.published import published_rows
from mde_fast.experiments.rows import EXPERIMENTS, REFERENCE, ROWS, row_config


@pytest.mark.parametrize("name", ROWS)
def test_every_row_can_be_trained(name):
    common = {"learning_rate": 0.5, "mda_weight": 0.3}
    config = row_config(common, name, seed=7)
    assert config.seed == 7
    assert all(getattr(config, option) == value for option, value in {**common, **ROWS[name].options}.items())


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
    [("table1", {"DRAGON", "MDE", "LightGCN"}), ("table2", {"w/o MDA", "w/o MSA", "w/o NLT", "MDE"})],
)
def test_rows_stand_beside_their_published_ones(experiment, rows):
    published = {row["row"] for row in published_rows(experiment, "baby")}
    assert {ROWS[name].published for name in EXPERIMENTS[experiment].rows} == rows <= published
