"""What is searched: the options that come with a range, a grid of MMRec's, or a space of one's own."""

import pytest
from mmrec_settings import DRAGON, LIGHTGCN
from option_values import config_of
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mde_fast.errors import InputError
from mde_fast.models import find_model, model_names
from mde_fast.options import Range, to_yaml
from mde_fast.runs.config import make_config, read_options, schema
from mde_fast.runs.presets import find_preset, preset_names
from mde_fast.search.space import (
    check_point,
    default_space,
    describe,
    point_of,
    read_space,
    searchable,
    to_file,
    to_options,
)

MODELS = model_names()


@pytest.fixture
def read(tmp_path):
    """read(text, given, model) -> the space of a YAML text, and what was left out."""

    def read(text: str, given=(), model="mde"):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return read_space(path, given, model)

    return read


@pytest.fixture
def grids(tmp_path):
    """grids(content, model) -> those of a YAML file of MMRec's."""

    def grids(content: dict, model="mde"):
        path = tmp_path / "theirs.yaml"
        path.write_text(to_yaml(content))
        return read_options(path, (model,)).grids

    return grids


def ends(values) -> list:
    return list(values.choices) if isinstance(values, CategoricalDistribution) else [values.low, values.high]


# ---------------------------------------------------------------------------------------------------------------------
# Unless told otherwise


def test_what_is_searched_of_mde():
    space = default_space("mde")
    assert {"mda_weight", "msa_weight", "reg_weight", "learning_rate", "input_scale"} <= set(space)
    assert {"mda", "msa", "nlt_detach", "layer_combine", "fusion", "item_graph", "preference_init"} <= set(space)


def test_what_is_searched_of_lightgcn():
    space = default_space("lightgcn")
    assert {name: describe(values) for name, values in space.items()} == {
        "learning_rate": "3e-05 to 0.003 (log)",
        "n_layers": "1, 2, 3, 4",
        "reg_weight": "1e-06 to 0.1 (log)",
    }


@pytest.mark.parametrize("model", MODELS)
def test_it_is_what_the_options_themselves_say(model):
    space = default_space(model)
    assert set(space) == {name for name in searchable(model) if schema(model)[name].search is not None}
    for name, values in space.items():
        wanted = schema(model)[name].search
        if isinstance(wanted, Range):
            assert (values.low, values.high, values.log) == (wanted.low, wanted.high, wanted.log)
        else:
            assert values.choices == wanted


@pytest.mark.parametrize("model", MODELS)
def test_every_value_of_it_can_be_trained(model):
    for name, values in default_space(model).items():
        for value in ends(values):
            make_config({**to_options({name: value}, model), "model": model})


@pytest.mark.parametrize("model", MODELS)
def test_only_how_good_the_model_is_can_be_searched_not_what_a_metric_means(model):
    of_training = {"learning_rate", "train_batch_size"} if find_model(model).learns else set()
    assert set(searchable(model)) == {*find_model(model).Options.schema(), *of_training}
    assert set(default_space(model)) <= set(searchable(model))


@pytest.mark.parametrize(
    "model, preset", [(model, name) for model in MODELS for name in ["none", *preset_names(model)]]
)
def test_it_contains_every_preset(model, preset):
    space = default_space(model)
    config = make_config({**find_preset("baby", preset, model=model).options, "model": model})
    assert set(point_of(config, space)) == set(space)


def test_what_is_given_is_left_out_of_it():
    assert list(default_space("lightgcn", {"reg_weight": 1})) == ["learning_rate", "n_layers"]
    with pytest.raises(InputError, match="nothing to search: all options that come with a range are given"):
        default_space("lightgcn", set(default_space("lightgcn")))


@pytest.mark.parametrize("model", MODELS)
def test_as_a_file_it_is_read_back_to_the_same_space(read, model):
    space = default_space(model)
    assert read(to_file(space), (), model) == (space, [])
    assert list(read(to_file(space), (), model)[0]) == list(space)


# ---------------------------------------------------------------------------------------------------------------------
# A grid of MMRec's


def test_a_grid_is_searched_value_by_value_and_nothing_else(grids):
    space = default_space("lightgcn", grids=grids(LIGHTGCN, "lightgcn"))
    assert space == {
        "n_layers": CategoricalDistribution((1, 2, 3, 4)),
        "reg_weight": CategoricalDistribution((0.01, 0.001, 1e-4, 1e-5, 1e-6)),
    }
    rates = CategoricalDistribution((0.1, 0.01, 0.001, 0.0001, 1e-5))
    assert default_space("mde", grids=grids(DRAGON)) == {"learning_rate": rates, "reg_weight": rates}


def test_a_grid_whose_option_is_given_is_left_out(grids):
    assert list(default_space("mde", {"learning_rate": 0.1}, grids(DRAGON))) == ["reg_weight"]


def test_a_grid_of_both_modalities_weights(grids, read):
    space = default_space("mde", grids=grids({"mm_image_weight": [0.1, 0.5], "hyper_parameters": ["mm_image_weight"]}))
    assert space == {"blend_weights": CategoricalDistribution(("0.1,0.9", "0.5,0.5"))}
    assert read(to_file(space)) == (space, [])


@pytest.mark.parametrize(
    "content, said",
    [
        (
            {"seed": [1, 2], "hyper_parameters": ["seed"]},
            "--config: seed cannot be searched; give it as --seed instead",
        ),
        (
            {"knn_k": [5, 5], "hyper_parameters": ["knn_k"]},
            "--config: knn_k: a list needs two or more different values",
        ),
        ({"knn_k": [5, 0], "hyper_parameters": ["knn_k"]}, "--config: knn_k: 0 must be 1 or more"),
    ],
)
def test_a_grid_that_cannot_be_searched_is_refused(grids, content, said):
    with pytest.raises(InputError, match=f"^{said}"):
        default_space("mde", grids=grids(content))


# ---------------------------------------------------------------------------------------------------------------------
# One's own


def test_ranges(read):
    ranges = ("lr: {low: 1e-5, high: 0.1, log: true}", "knn_k: {low: 5, high: 20}", "input_scale: {low: 1, high: 2}")
    space, _ = read("\n".join(ranges))
    assert space == {
        "learning_rate": FloatDistribution(1e-5, 0.1, log=True),
        "knn_k": IntDistribution(5, 20),
        "input_scale": FloatDistribution(1.0, 2.0),
    }
    assert [describe(values) for values in space.values()] == ["1e-05 to 0.1 (log)", "5 to 20", "1.0 to 2.0"]


def test_lists(read):
    lists = ("mda: [fro, row_l2]", "nlt_detach: [no, yes]", "n_layers: [1, 2.0]", "blend_weights: ['.1,.9', [.5, .5]]")
    space, _ = read("\n".join(lists))
    assert {name: values.choices for name, values in space.items()} == {
        "mda": ("fro", "row_l2"),
        "nlt_detach": (False, True),
        "n_layers": (1, 2),
        "blend_weights": ("0.1,0.9", "0.5,0.5"),
    }
    assert describe(space["mda"]) == "fro, row_l2"
    chosen = to_options({"blend_weights": "0.1,0.9", "n_layers": 1, "nlt_detach": False, "mda": "fro"}, "mde")
    expected = config_of("mde", blend_weights=(0.1, 0.9), n_layers=1, nlt_detach=False, mda="fro")
    assert make_config(chosen) == expected


@pytest.mark.parametrize(
    "text",
    [
        "lr: {low: 1e-5, high: 0.1, log: true}\nknn_k: {low: 5, high: 20}\ninput_scale: {low: 1, high: 2}\n",
        "mda: [fro, row_l2]\nnlt_detach: [no, yes]\nn_layers: [1, 2.0]\nblend_weights: ['.1,.9', '']\n",
    ],
)
def test_a_space_as_a_file_is_read_back(read, text):
    space, _ = read(text)
    assert read(to_file(space)) == (space, [])


def test_what_is_given_is_left_out(read):
    space, left_out = read("mda: [fro, row_l2]\nlambda: {low: 0, high: 1}\n", {"reg_weight": 1})
    assert list(space) == ["mda"] and left_out == ["reg_weight"]


@pytest.mark.parametrize("name", ["mda", "user_k", "lambda", "mda-weight"])
def test_an_option_of_another_model_is_refused(read, name):
    with pytest.raises(InputError) as caught:
        read(f"n_layers: [1, 2]\n{name}: [1, 2]\n", (), "lightgcn")
    assert f"mine.yaml: {name} is an option of mde" in str(caught.value) and "not of lightgcn" in str(caught.value)


def test_what_lightgcn_has_is_searched(read):
    text = "embedding_size: [8, 16]\nn_layers: [1, 2]\nreg_weight: [0, 1]\nlr: [1, 2]\nbatch_size: [8, 16]"
    space, left_out = read(text, (), "lightgcn")
    assert list(space) == ["embedding_size", "n_layers", "reg_weight", "learning_rate", "train_batch_size"]
    assert left_out == []


def test_points_that_can_be_trained(read):
    space, _ = read("lr: {low: 1e-3, high: 0.1, log: true}\nknn_k: {low: 5, high: 9}\nmda: [fro, row_l2]\n")
    check_point({}, space, "mde")
    check_point({"learning_rate": 0.01, "knn_k": 7, "mda": "fro"}, space, "mde")
    check_point({"learning_rate": 0.5, "knn_k": 20}, space, "mde")


@pytest.mark.parametrize(
    "point, said",
    [
        ({"mda": "nonsense"}, "mda: nonsense is not one of fro, row_l2"),
        ({"mda": ["fro"]}, "mda: ['fro'] is not one of fro, row_l2"),
        ({"mda": "fro", "n_layers": 3}, "n_layers is not searched; choose from learning_rate, knn_k, mda_weight, mda"),
        ({"learning_rate": -1}, "learning_rate: -1.0 must be greater than 0"),
        ({"learning_rate": "fast"}, "learning_rate=fast: needs a number"),
        ({"learning_rate": None}, "learning_rate=None: needs a number"),
        ({"knn_k": 7.5}, "knn_k=7.5: needs a whole number"),
        ({"knn_k": [7]}, "knn_k: [7] is a list within a list"),
        ({"mda_weight": 0}, "mda_weight: 0 must be greater than 0, the scale is logarithmic"),
    ],
)
def test_points_that_cannot_be_trained(read, point, said):
    ranges = "learning_rate: {low: 1e-3, high: 0.1}\nknn_k: {low: 5, high: 9}\n"
    space, _ = read(ranges + "mda_weight: {low: 1e-3, high: 1, log: true}\nmda: [fro, row_l2]\n")
    with pytest.raises(InputError) as caught:
        check_point(point, space, "mde")
    assert str(caught.value).startswith(f"the enqueued point: {said}")


def test_a_configuration_as_a_point(read):
    space, _ = read("mda: [fro, row_l2]\nlr: {low: 0.1, high: 1}\nknn_k: [5, 10]\nblend_weights: ['1,2', '']\n")
    config = config_of("mde", learning_rate=0.01, mda="fro", blend_weights=(1.0, 2.0))
    assert point_of(config, space) == {"mda": "fro", "knn_k": 10, "blend_weights": "1.0,2.0"}


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "nothing to search"),
        ("learnin_rate: [1, 2]", "unknown option learnin_rate; did you mean learning_rate?"),
        ("seed: [1, 2]", "seed cannot be searched; give it as --seed instead"),
        ("epochs: {low: 1, high: 9}", "epochs cannot be searched"),
        ("dataset: [baby, sports]", "dataset cannot be searched"),
        ("model: [mde, lightgcn]", "model cannot be searched"),
        ("minutes: {low: 1, high: 9}", "minutes cannot be searched"),
        ("mm_image_weight: [0.1, 0.5]", "unknown option mm_image_weight"),
        ("valid_metric: [recall@20, ndcg@20]", "valid_metric cannot be searched"),
        ("learning_rate: 0.1", "learning_rate: 0.1 is no range {low: ..., high: ...} and no list of values"),
        ("learning_rate:", "learning_rate: None is no range"),
        ("learning_rate: {low: 0.1}", "a range has low, high and, if wanted, log"),
        ("learning_rate: {low: 0.1, high: 1, step: 0.1}", "a range has low, high and, if wanted, log"),
        ("learning_rate: {low: 1, high: 0.1}", "low is 1.0 and high is 0.1; low must be less"),
        ("learning_rate: {low: 1, high: 1}", "low must be less"),
        ("learning_rate: {low: 0, high: 1}", "learning_rate: 0.0 must be greater than 0"),
        ("learning_rate: {low: few, high: 1}", "learning_rate=few: needs a number"),
        ("mda_weight: {low: 0, high: 1, log: true}", "low is 0.0; it must be greater than 0 on a logarithmic scale"),
        ("mda_weight: {low: 1, high: 2, log: much}", "log is much; write true or false"),
        ("knn_k: {low: 1.5, high: 3}", "knn_k=1.5: needs a whole number"),
        ("mda: {low: 1, high: 2}", "mda: a range is for numbers; give a list of values"),
        ("nlt_detach: {low: 0, high: 1}", "nlt_detach: a range is for numbers"),
        ("mda: [row_l2]", "a list needs two or more different values; fix one with --mda"),
        ("n_layers: [2, 2.0]", "a list needs two or more different values"),
        ("mda: [row_l2, cosine]", "mda: 'cosine' is not one of row_l2, fro, abs_cos"),
        ("n_layers: [1, [2]]", "n_layers: [2] is a list within a list"),
        ("knn_k: [5, 10]\nknn-k: [10, 20]", "knn-k means knn_k, which an earlier key searches already"),
        ("- mda", "not a mapping"),
        ("mda: [row_l2", "not valid YAML"),
    ],
)
def test_mistakes(read, text, said):
    with pytest.raises(InputError) as caught:
        read(text)
    assert said in str(caught.value) and "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_left(read):
    with pytest.raises(InputError, match="nothing to search; mda are given"):
        read("mda: [fro, row_l2]", {"mda"})


def test_nothing_left_for_lightgcn(read):
    with pytest.raises(InputError, match="nothing to search; n_layers are given"):
        read("n_layers: [1, 2]", {"n_layers"}, "lightgcn")
