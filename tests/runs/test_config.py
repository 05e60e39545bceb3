"""The options of a run, composed of its rooms' and its model's: from flags, from YAML, from Python, and back."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from option_values import BAD_VALUES, OPTIONS_OF_MODELS, VALUES, config_of, defaults, from_flags, spellings
from refused import assert_refused

from mde_fast import __version__
from mde_fast.commands import add_options, make_parser
from mde_fast.models import find_model, model_names
from mde_fast.options import Options, convert, option
from mde_fast.runs import config as config_module
from mde_fast.runs.config import changed_options, make_config, read_config, read_options, schema, with_options
from mde_fast.runs.mmrec import FEATURE_FILES, GRIDS, PASSED_OVER

MODELS = model_names()
SPELLINGS = [(model, name, spelling) for model, name in OPTIONS_OF_MODELS for spelling in spellings(model, name)]
WITH_CHOICES = [(model, name) for model, name in OPTIONS_OF_MODELS if schema(model)[name].choices]
ROOMS = ("data", "hyper", "training", "evaluation")


@pytest.fixture
def read(tmp_path):
    """The options of a YAML text, for runs of a model; nothing in it is passed over."""

    def read(text: str, model: str = "mde"):
        path = tmp_path / "options.yaml"
        path.write_text(text, encoding="utf-8")
        found = read_options(path, (model,))
        assert found.notes == [] and found.grids == {}
        return found.options

    return read


# ---------------------------------------------------------------------------------------------------------------------
# Every option


def test_every_option_is_tried_here():
    assert set(VALUES) == {"model", *(name for _, name in OPTIONS_OF_MODELS)}
    same = [(model, name) for model, name in OPTIONS_OF_MODELS if VALUES[name][1] == schema(model)[name].default]
    assert all(len(schema(model)[name].choices or ()) == 1 for model, name in same)


@pytest.mark.parametrize("model", MODELS)
def test_the_defaults_are_valid(model):
    config = make_config({"model": model})
    assert config == from_flags("--model", model) == config_of(model)
    assert config.values() == defaults(model)
    assert list(config.values()) == list(schema(model))


def test_the_model_is_mde_where_nobody_says_otherwise():
    assert make_config({}) == from_flags() == make_config({"model": "mde"})


@pytest.mark.parametrize("spelling", ["model", "MODEL", "Model"])
def test_the_model_is_chosen_however_its_name_is_spelled(tmp_path, spelling):
    path = tmp_path / "options.yaml"
    path.write_text(f"{spelling}: lightgcn\n")
    expected = make_config({"model": "lightgcn"})
    assert make_config({spelling: "lightgcn"}) == expected
    assert from_flags(f"--{spelling}", "lightgcn") == from_flags(f"--{spelling}=lightgcn") == expected
    assert from_flags(paths=[path]) == expected


@pytest.mark.parametrize("model, name, spelling", SPELLINGS)
def test_every_name_is_a_flag(model, name, spelling):
    typed, value = VALUES[name]
    expected = config_of(model, **{name: value})
    for flag in (f"--{spelling}", f"--{spelling.replace('_', '-')}", f"--{spelling.upper()}"):
        assert from_flags("--model", model, flag, typed) == from_flags("--model", model, f"{flag}={typed}") == expected


@pytest.mark.parametrize("model, name, spelling", SPELLINGS)
def test_every_name_is_a_yaml_key(read, model, name, spelling):
    typed, value = VALUES[name]
    native = list(value) if isinstance(value, tuple) else value
    for content in (native, typed):
        options = read(yaml.safe_dump({spelling: content}), model)
        assert make_config({"model": model, **options}) == config_of(model, **{name: value})


@pytest.mark.parametrize("model, name", OPTIONS_OF_MODELS)
def test_a_value_is_the_options_and_no_other_s(model, name):
    changed = make_config({"model": model, name: VALUES[name][1]}).values()
    assert changed == {**defaults(model), name: VALUES[name][1]}


@pytest.mark.parametrize("model", MODELS)
def test_no_name_means_two_options(model):
    names = [spelling.lower() for entry in schema(model).values() for spelling in (entry.name, *entry.mmrec)]
    # Of what MMRec has for all models, SLMRec alone sets weight_decay.
    passed_over = {*PASSED_OVER - {"weight_decay"}, *FEATURE_FILES, *find_model(model).Options.mmrec_ignored, GRIDS}
    assert len(set(names)) == len(names)
    assert not {key.lower() for key in passed_over} & set(names)


@pytest.mark.parametrize("model", MODELS)
def test_no_option_is_owned_twice(model):
    config = make_config({"model": model})
    names = [name for room in ROOMS for name in getattr(config, room).schema()]
    assert sorted([*names, "model"]) == sorted(schema(model))


def test_a_model_cannot_take_the_name_of_a_room_s_option(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Greedy(Options):
        epochs: int = option(3, "of its own")

    monkeypatch.setattr(config_module, "find_model", lambda name: SimpleNamespace(Options=Greedy))
    with pytest.raises(AssertionError, match="epochs belongs to a room already"):
        schema.__wrapped__("greedy")


@pytest.mark.parametrize("model", MODELS)
def test_every_option_explains_itself_and_says_whose_it_is(model):
    for entry in schema(model).values():
        assert len(entry.help.split()) > 1 or entry.name == "learning_rate", entry.name
        assert entry.owner in ("data", "model", model, "training", "evaluation"), entry.name
    assert {entry.owner for entry in find_model(model).Options.schema().values()} == {model}


@pytest.mark.parametrize("model", MODELS)
def test_help_has_every_option_of_the_model_and_its_default(model):
    parser = make_parser("test", "Tests options.")
    add_options(parser, (model,))
    text = " ".join(parser.format_help().split())
    for name, entry in schema(model).items():
        assert f"--{name.replace('_', '-')} " in text
        assert " ".join(entry.help.split()) in text
    for shown in ("(default: baby)", "(default: 0.8,0.1,0.1)", "(default: True)", "(default: 5,10,20,50)"):
        assert shown in text


@pytest.mark.parametrize("model, name", WITH_CHOICES)
def test_choices(model, name):
    choices = schema(model)[name].choices
    for choice in choices:
        assert from_flags("--model", model, f"--{name}", choice).values()[name] == choice
    assert_refused(lambda: from_flags("--model", model, f"--{name}", "other"), name, "other", *choices)


@pytest.mark.parametrize("name, typed", [(name, typed) for name, bad in BAD_VALUES.items() for typed in bad])
def test_values_that_cannot_be(read, name, typed):
    for model in MODELS:
        if name in schema(model):
            assert_refused(lambda: from_flags("--model", model, f"--{name}={typed}"), name)
            text = yaml.safe_dump({name: typed})
            assert_refused(lambda: make_config({"model": model, **read(text, model)}), name)


@pytest.mark.parametrize("value", ("preference", "none", "free", "fixed:0", "fixed:1", "fixed:0.5", "fixed:1e-3"))
def test_every_form_of_nlt(value):
    assert from_flags("--nlt", value).hyper.nlt == value


def test_switches_need_no_value():
    assert from_flags("--require-real").data.require_real
    assert not from_flags("--row-normalize", "false").hyper.row_normalize
    assert from_flags("--require-real", "--epochs", "3") == config_of("mde", require_real=True, epochs=3)


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("epochs: 3\nseed: 5\n")
    assert from_flags("--epochs", "7", paths=[path]) == config_of("mde", epochs=7, seed=5)


def test_options_changed_are_checked_again():
    config = make_config({"model": "lightgcn", "seed": 3})
    assert with_options(config, epochs=3) == config_of("lightgcn", epochs=3, seed=3)
    assert_refused(lambda: with_options(config, epochs=0), "epochs")
    assert_refused(lambda: with_options(config, mda="fro"), "mda is an option of mde, not of lightgcn")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.training.epochs = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model = "mde"


def test_defaults_are_not_shared():
    make_config({}).data.features["image"] = "a.npy"
    assert make_config({}).data.features == {}


# ---------------------------------------------------------------------------------------------------------------------
# What a search tries


SEARCHED = [(model, name) for model, name in OPTIONS_OF_MODELS if schema(model)[name].search is not None]


@pytest.mark.parametrize("model, name", SEARCHED)
def test_a_search_tries_only_values_that_the_option_may_have(model, name):
    entry = schema(model)[name]
    values = entry.search if isinstance(entry.search, tuple) else (entry.search.low, entry.search.high)
    assert len(set(values)) == len(values) >= 2
    for value in values:
        assert convert(entry, value, "") == value
        make_config({"model": model, name: value})


@pytest.mark.parametrize("model, name", SEARCHED)
def test_the_default_lies_within_what_a_search_tries(model, name):
    entry = schema(model)[name]
    if isinstance(entry.search, tuple):
        assert entry.default in entry.search
    else:
        assert entry.search.low <= entry.default <= entry.search.high
        assert entry.search.low > 0 or not entry.search.log


# ---------------------------------------------------------------------------------------------------------------------
# Round trip


@pytest.mark.parametrize("model, name", OPTIONS_OF_MODELS)
def test_round_trip_of_every_option(read, tmp_path, model, name):
    for config in (config_of(model), config_of(model, **{name: VALUES[name][1]})):
        text = config.to_yaml()
        assert make_config(read(text, model)) == config
        assert read_config(tmp_path / "options.yaml") == (config, [])
        content = yaml.safe_load(text)
        assert list(content) == ["mde_fast", *schema(model)], "every option is written, in order"
        assert content["mde_fast"] == __version__


@pytest.mark.parametrize("model, seed", [*itertools.product(MODELS, range(10))])
def test_round_trip_of_combinations(read, tmp_path, model, seed):
    rng = np.random.default_rng(seed)
    chosen = {name: value for name, (_, value) in VALUES.items() if name in schema(model) and rng.random() < 0.5}
    chosen = {"learning_rate": float(10 ** rng.uniform(-8, 3)), **chosen, "model": model}
    config = make_config(chosen)
    assert make_config(read(config.to_yaml(), model)) == config == read_config(tmp_path / "options.yaml")[0]
    assert config.values() == {**defaults(model), **chosen}


@pytest.mark.parametrize(
    "text", ("null", "~", "yes", "123", "1e3", "a: b", "it's", '"', " ", "#x", "Zürich 店", "a\nb", "x:y")
)
def test_round_trip_of_difficult_text(read, text):
    config = config_of("mde", dataset=text, user_column=text, features={"image": text})
    assert make_config(read(config.to_yaml())) == config


# ---------------------------------------------------------------------------------------------------------------------
# From Python


def test_values_from_python(tmp_path):
    config = make_config({"lr": 1, "dataset": tmp_path, "topk": (5, 10), "features": {"image": "a", "text": "b"}})
    assert config == config_of(
        "mde", learning_rate=1.0, dataset=str(tmp_path), topk=(5, 10), features={"image": "a", "text": "b"}
    )
    assert make_config(config.values()) == config
    assert_refused(lambda: make_config({"epochs": "many"}), "epochs", "needs a whole number")
    assert_refused(lambda: make_config({"epoch": 3}), "epoch", "did you mean epochs?")
    assert_refused(lambda: make_config({"model": "bpr"}), "model: 'bpr' is not one of mde, ")


def test_each_room_has_its_own_options():
    config = make_config({"dataset": "shop", "mda_weight": 0.5, "epochs": 3, "valid_metric": "NDCG@10"})
    assert (config.data.dataset, config.hyper.mda_weight, config.training.epochs) == ("shop", 0.5, 3)
    assert (config.evaluation.metric, config.evaluation.cutoffs) == ("ndcg@10", (5, 10, 20, 50, 10))
    assert not hasattr(config.training, "mda_weight") and not hasattr(config.hyper, "epochs")


def test_changes_between_two_runs_know_the_defaults_of_younger_options():
    now = make_config({"epochs": 4, "topk": (5, 10)}).values()
    then = {name: value for name, value in now.items() if name != "minutes"} | {"epochs": 3, "topk": [5, 10]}
    assert [str(change) for change in changed_options(then, now)] == ["epochs was 3, is 4"]
    assert changed_options(then, now, without=("epochs",)) == []
    limited = make_config({**now, "epochs": 3, "minutes": 5}).values()
    assert [str(change) for change in changed_options(then, limited)] == ["minutes was None, is 5.0"]


def test_changes_know_what_was_done_before_an_option():
    """Another default came with it."""
    now = make_config({}).values()
    then = {name: value for name, value in now.items() if name != "feature_rank"}
    assert [str(change) for change in changed_options(then, now)] == ["feature_rank was full, is exact"]
    assert changed_options(then, {**now, "feature_rank": "full"}) == []


def test_an_option_of_another_model_is_no_change():
    """0.1.0 wrote the options of mde for every model."""
    now = make_config({"model": "lightgcn"}).values()
    assert changed_options({**now, "mda_weight": 0.5}, now) == []


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes


@pytest.mark.parametrize(
    "typed, meant",
    (
        ("learning_rat", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("lerning-rate", "learning_rate"),
        ("embeding_size", "embedding_size"),
        ("batchsize", "train_batch_size"),
        ("user_kk", "user_k"),
        ("nlayers", "n_layers"),
        ("datset", "dataset"),
    ),
)
def test_unknown_names_get_a_hint(read, typed, meant):
    assert_refused(lambda: read(f"{typed}: 1"), typed, f"did you mean {meant}?", "options.yaml")
    assert_refused(lambda: from_flags(f"--{typed}", "1"), typed, f"did you mean {meant}?", "command line")


def test_the_hint_is_an_option_of_the_model():
    assert_refused(lambda: from_flags("--model=lightgcn", "--embeding-size=8"), "did you mean embedding_size?")
    with pytest.raises(Exception) as caught:
        from_flags("--model=lightgcn", "--mda-weigth=1")
    assert "unknown option mda-weigth" in str(caught.value) and "mda_weight" not in str(caught.value)


def test_a_name_like_no_other(read):
    assert_refused(lambda: read("zzzzzz: 1"), "zzzzzz", "--help")
    assert_refused(lambda: from_flags("--zzzzzz"), "zzzzzz", "--help")


def test_no_abbreviations():
    """A shortened flag would change its meaning when an option is added."""
    assert_refused(lambda: from_flags("--epoch", "3"), "did you mean epochs?")


def test_arguments_that_are_no_flags():
    assert_refused(lambda: from_flags("baby"), "baby", "--help")
    assert_refused(lambda: from_flags("--epochs"), "epochs", "--help")


def test_a_flag_without_its_value_is_said_once(capsys):
    assert_refused(lambda: from_flags("--model"), "--model", "expected one argument", "--help")
    assert_refused(lambda: from_flags("--config"), "--config", "expected one argument", "--help")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text, said",
    (
        ("epochs: {a: 1}", "needs a whole number"),
        ("epochs:", "needs a whole number"),
        ("row_normalize: 3", "needs true or false"),
        ("topk: {5: 10}", "needs a whole number"),
        ("topk: [[5], 10]", "needs a whole number"),
        ("learning_rate: true", "needs a number"),
        ("features: image.npy", "needs name=file"),
        ("model:", "needs a value"),
        ("epochs: 1\nseed: 2\nepochs: 3", "epochs is written 2 times"),
        ("lr: 0.1\nlearning_rate: 0.2", "learning_rate sets learning_rate to another value"),
        ("epochs: [1", "not valid YAML"),
        ("- epochs", "not a mapping"),
    ),
)
def test_files_that_cannot_be_used(read, text, said):
    assert_refused(lambda: read(text), "options.yaml", said)


def test_two_names_for_the_same_value_are_no_contradiction(read):
    assert read("lr: 0.1\nlearning_rate: 1e-1\n") == {"learning_rate": 0.1}


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        assert_refused(lambda: read_options(path, ("mde",)), path)
        assert_refused(lambda: from_flags(paths=[path]), path)


@pytest.mark.parametrize("text", ("", "# nothing but a remark\n", "{}"))
def test_empty_files(read, text):
    assert read(text) == {}
