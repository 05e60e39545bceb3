"""A run is told its own model's options; those of another model are refused, and their owner is named."""

from __future__ import annotations

import pytest
from option_values import VALUES, from_flags, given_by
from refused import assert_refused

from mde_fast.models import find_model, model_names
from mde_fast.runs.config import make_config, option_named, read_options, schema
from mde_fast.runs.mmrec import PASSED_OVER

# (model, option, the model that has it) of options that a model lacks.
FOREIGN = [
    (model, name, owner)
    for model in model_names()
    for owner in model_names()
    for name in find_model(owner).Options.schema()
    if option_named(name, (model,)) is None
]


@pytest.fixture
def write(tmp_path):
    """write(text, name) -> the path of a YAML file."""

    def write(text: str, name: str = "options.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_there_are_options_that_lightgcn_lacks():
    assert {"mda_weight", "nlt", "knn_k"} <= {
        name for model, name, owner in FOREIGN if (model, owner) == ("lightgcn", "mde")
    }


@pytest.mark.parametrize("model, name, owner", FOREIGN)
def test_an_option_of_another_model_is_refused(write, model, name, owner):
    typed, value = VALUES[name]
    owners = [other for other in model_names() if option_named(name, (other,))]
    assert owner in owners
    said = f"{name} is an option of {' and '.join(owners)}, not of {model}; leave it out, or "
    said += f"train with --model {owners[0]}"
    assert_refused(lambda: make_config({"model": model, name: value}), f"make_config: {said}")
    assert_refused(lambda: from_flags("--model", model, f"--{name}", typed), f"command line: {said}")
    path = write(f"{name}: {typed!r}\n")
    if name not in {*PASSED_OVER, *find_model(model).Options.mmrec_ignored}:
        assert_refused(lambda: from_flags("--model", model, paths=[path]), f"{path}: {said}")


def test_it_is_refused_under_every_name():
    for flag in ("--mda-weight", "--MDA_WEIGHT", "--a", "--item-k"):
        assert_refused(lambda: from_flags("--model=lightgcn", flag, "1"), "is an option of mde, not of lightgcn")


def test_a_model_may_have_an_option_under_fewer_names_than_another():
    """In DRAGON's files ``feat_embed_dim`` is the size of a modality's embedding, which lightgcn has none of."""
    assert from_flags("--feat-embed-dim", "8").hyper.embedding_size == 8
    assert_refused(lambda: from_flags("--model=lightgcn", "--feat-embed-dim=8"), "feat-embed-dim is an option of mde")


def test_an_option_of_several_models_is_the_chosen_one_s():
    models = [
        name for name in model_names() if {"n_layers", "embedding_size"} <= set(find_model(name).Options.schema())
    ]
    assert {"mde", "lightgcn", "bm3"} <= set(models)
    for model in models:
        config = make_config({"model": model, "n_layers": 1, "embedding_size": 8})
        assert isinstance(config.hyper, find_model(model).Options)
        assert (config.hyper.n_layers, config.hyper.embedding_size) == (1, 8)


def test_models_that_share_an_option_agree_on_its_type():
    """One flag of the experiments reaches rows of several models."""
    types: dict[str, set] = {}
    for model in model_names():
        for name, entry in schema(model).items():
            types.setdefault(name, set()).add(entry.type)
    assert not {name for name, kinds in types.items() if len(kinds) > 1}


def test_where_several_models_are_trained_an_option_of_any_of_them_is_known(write):
    path = write("mda_weight: 0.5\nn_layers: 1\n")
    assert read_options(path, ("lightgcn", "mde")).options == {"mda_weight": 0.5, "n_layers": 1}
    assert_refused(lambda: read_options(path, ("lightgcn",)), "mda_weight is an option of mde")


# ---------------------------------------------------------------------------------------------------------------------
# Whose options they are


def test_the_file_s_model_decides_whose_options_it_has(write):
    model, given = given_by(paths=[write("reg_weight: 0.5\nmodel: lightgcn\n")])
    assert model == "lightgcn" and given.options == {"reg_weight": 0.5, "model": "lightgcn"}
    said = "mda_weight is an option of mde, not of lightgcn"
    assert_refused(lambda: given_by(paths=[write("model: lightgcn\nmda_weight: 0.5\n")]), said)


def test_the_file_s_model_decides_which_flags_there_are(write):
    path = write("model: lightgcn\n")
    assert from_flags("--reg-weight", "0.5", paths=[path]) == make_config({"model": "lightgcn", "reg_weight": 0.5})
    assert_refused(lambda: from_flags("--mda-weight", "0.5", paths=[path]), "mda-weight is an option of mde")


def test_the_flag_wins_over_the_file_s_model(write):
    path = write("model: lightgcn\nreg_weight: 0.5\n")
    assert from_flags("--model", "mde", paths=[path]) == make_config({"model": "mde", "reg_weight": 0.5})
    assert_refused(
        lambda: from_flags("--model=lightgcn", paths=[write("model: mde\nmda: fro\n")]), "mda is an option of mde"
    )


def test_without_a_word_about_the_model_they_are_mde_s(write):
    assert given_by(paths=[write("seed: 3\n")])[0] == given_by()[0] == "mde"


@pytest.mark.parametrize(
    "name, model", [("LightGCN.yaml", "lightgcn"), ("lightgcn.yml", "lightgcn"), ("MDE.yaml", "mde")]
)
def test_a_file_that_is_named_after_a_model_is_of_that_model(write, name, model):
    """As MMRec's are."""
    assert given_by(paths=[write("n_layers: 3\n", name)])[0] == model


def test_what_a_file_says_wins_over_its_name(write):
    assert given_by(paths=[write("model: mde\n", "lightgcn.yaml")])[0] == "mde"


def test_of_several_files_the_last_one_that_says_decides(write):
    paths = [write("model: mde\n", "a.yaml"), write("", "LightGCN.yaml"), write("seed: 3\n", "c.yaml")]
    assert given_by(paths=paths)[0] == "lightgcn"
    assert given_by(paths=paths[::-1])[0] == "mde"


@pytest.mark.parametrize("written", ["LightGCN", "LIGHTGCN", "[lightgcn]"])
def test_a_model_s_name_may_be_written_as_mmrec_does(write, written):
    expected = make_config({"model": "lightgcn"})
    assert from_flags(paths=[write(f"model: {written}\n")]) == expected
    assert from_flags("--model", written.strip("[]")) == make_config({"model": written.strip("[]")}) == expected


def test_a_model_that_there_is_not(write):
    said = "model: 'bpr' is not one of mde, "
    assert_refused(lambda: from_flags("--model", "bpr"), said)
    assert_refused(lambda: from_flags(paths=[write("model: bpr\n")]), said)
    assert_refused(lambda: make_config({"model": "bpr"}), said)


# ---------------------------------------------------------------------------------------------------------------------
# Several files


def test_the_later_of_several_files_wins_and_flags_win_over_all(write):
    paths = [write("seed: 1\nepochs: 1\nlr: 0.1\n", "a.yaml"), write("learning_rate: 0.2\nepochs: 2\n", "b.yaml")]
    config = from_flags("--epochs", "3", paths=paths)
    assert (config.training.seed, config.training.learning_rate, config.training.epochs) == (1, 0.2, 3)
    assert from_flags(paths=paths[::-1]).training.learning_rate == 0.1


def test_a_value_takes_the_place_of_an_earlier_file_s_grid_and_the_other_way_round(write):
    grid = write("hyper_parameters: [reg_weight]\nreg_weight: [0.1, 0.2]\n", "grid.yaml")
    value = write("reg_weight: 0.5\n", "value.yaml")
    _, given = given_by(paths=[grid, value])
    assert (given.options, given.grids) == ({"reg_weight": 0.5}, {})
    _, given = given_by(paths=[value, grid])
    assert (given.options, given.grids) == ({}, {"reg_weight": (0.1, 0.2)})
