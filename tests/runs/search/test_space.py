"""What is searched: the space that comes with the package, and one's own."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mde_fast.errors import InputError
from mde_fast.runs.config import Config, make_config
from mde_fast.runs.presets import find_preset, preset_names
from mde_fast.search.space import DEFAULT_SPACE, check_point, describe, point_of, read_space, to_options


@pytest.fixture
def read(tmp_path):
    """read(text, given, model) -> the space of a YAML text, and what was left out."""

    def read(text: str, *arguments):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return read_space(path, *arguments)

    return read


def ends(values) -> list:
    return list(values.choices) if isinstance(values, CategoricalDistribution) else [values.low, values.high]


def test_the_one_of_the_package():
    space, left_out = read_space(DEFAULT_SPACE)
    assert left_out == {}
    assert {"mda_weight", "msa_weight", "reg_weight", "learning_rate", "input_scale"} <= set(space)
    assert {"mda", "msa", "nlt_detach", "layer_combine", "fusion", "item_graph", "preference_init"} <= set(space)
    for name, values in space.items():
        for value in ends(values):
            make_config(to_options({name: value}))


@pytest.mark.parametrize("preset", ["none", *preset_names()])
def test_it_contains_every_preset(preset):
    space, _ = read_space(DEFAULT_SPACE)
    assert set(point_of(make_config(find_preset("baby", preset).options), space)) == set(space)


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
    chosen = to_options({"blend_weights": "0.1,0.9", "n_layers": 2, "nlt_detach": True, "mda": "fro"})
    assert make_config(chosen) == Config(blend_weights=(0.1, 0.9), n_layers=2, nlt_detach=True, mda="fro")


def test_what_is_given_is_left_out(read):
    space, left_out = read("mda: [fro, row_l2]\nlambda: {low: 0, high: 1}\n", {"reg_weight": 1})
    assert list(space) == ["mda"] and left_out == {"are given": ["reg_weight"]}


def test_what_has_no_effect_on_lightgcn_is_left_out():
    everything, _ = read_space(DEFAULT_SPACE)
    space, left_out = read_space(DEFAULT_SPACE, {"modality_losses": False}, "lightgcn")
    assert list(space) == ["learning_rate", "reg_weight"]
    given, without_effect = left_out["are given"], left_out["have no effect on lightgcn"]
    assert given == ["modality_losses"] and {"mda", "msa", "mda_weight", "input_scale"} < set(without_effect)
    assert {*space, *given, *without_effect} == set(everything)


def test_what_lightgcn_uses_is_searched(read):
    text = "embedding_size: [8, 16]\nn_layers: [1, 2]\nlambda: [0, 1]\nlr: [1, 2]\nbatch_size: [8, 16]\nuser_k: [5, 9]"
    space, left_out = read(text, (), "lightgcn")
    assert list(space) == ["embedding_size", "n_layers", "reg_weight", "learning_rate", "train_batch_size"]
    assert left_out == {"have no effect on lightgcn": ["user_k"]}


def test_points_that_can_be_trained(read):
    space, _ = read("lr: {low: 1e-3, high: 0.1, log: true}\nknn_k: {low: 5, high: 9}\nmda: [fro, row_l2]\n")
    check_point({}, space)
    check_point({"learning_rate": 0.01, "knn_k": 7, "mda": "fro"}, space)
    check_point({"learning_rate": 0.5, "knn_k": 20}, space)


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
        check_point(point, space)
    assert str(caught.value).startswith(f"the enqueued point: {said}")


def test_a_configuration_as_a_point(read):
    space, _ = read("mda: [fro, row_l2]\nlr: {low: 0.1, high: 1}\nknn_k: [5, 10]\nblend_weights: ['1,2', '']\n")
    config = Config(learning_rate=0.01, mda="fro", blend_weights=(1.0, 2.0))
    assert point_of(config, space) == {"mda": "fro", "knn_k": 10, "blend_weights": "1.0,2.0"}


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "nothing to search"),
        ("learnin_rate: [1, 2]", "unknown option learnin_rate; did you mean learning_rate?"),
        ("seed: [1, 2]", "seed cannot be searched; give it as --seed instead"),
        ("epochs: {low: 1, high: 9}", "epochs cannot be searched"),
        ("dataset: [baby, sports]", "dataset cannot be searched"),
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
    said = "nothing to search; mda, msa have no effect on lightgcn; n_layers are given"
    with pytest.raises(InputError, match=said):
        read("mda: [fro, row_l2]\nn_layers: [1, 2]\nmsa: [cosine, infonce]", {"n_layers"}, "lightgcn")
