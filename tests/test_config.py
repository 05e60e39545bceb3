"""Options from flags and YAML files, ours and MMRec's, and what is said about values that cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import yaml

from mde_fast.commands import add_options, collect_options, make_parser, normalise_flags
from mde_fast.errors import InputError
from mde_fast.runs.config import (
    KEYS,
    MMREC_ONLY,
    OPTIONS,
    Config,
    convert,
    default_of,
    make_config,
    read_yaml,
    with_options,
)

# As typed, and what it means. All differ from the defaults.
VALUES = {
    "dataset": ("my shop", "my shop"),
    "data_dir": ("/some/where", "/some/where"),
    "features": ("image=a.npy,text=b=c.npy", {"image": "a.npy", "text": "b=c.npy"}),
    "split_ratios": ("0.6,0.2,0.2", (0.6, 0.2, 0.2)),
    "split_seed": ("7", 7),
    "user_column": ("who", "who"),
    "item_column": ("what: exactly", "what: exactly"),
    "time_column": ("when", "when"),
    "split_column": ("part", "part"),
    "cache_dir": ("none", "none"),
    "embedding_size": ("32", 32),
    "projection_hidden": ("128", 128),
    "input_scale": ("0.5", 0.5),
    "n_layers": ("0", 0),
    "user_k": ("20", 20),
    "knn_k": ("5", 5),
    "blend_weights": ("0.3,0.7", (0.3, 0.7)),
    "nlt": ("fixed:0.25", "fixed:0.25"),
    "mda_weight": ("0", 0.0),
    "msa_weight": ("1e-3", 0.001),
    "temperature": (".07", 0.07),
    "reg_weight": ("1", 1.0),
    "epochs": ("3", 3),
    "stopping_step": ("4", 4),
    "train_batch_size": ("512", 512),
    "learning_rate": ("1e-3", 0.001),
    "seed": ("0", 0),
    "device": ("cuda:1", "cuda:1"),
    "topk": ("1,100", (1, 100)),
    "valid_metric": ("NDCG@10", "NDCG@10"),
}
for _name, _entry in OPTIONS.items():
    if _entry.metadata["choices"]:
        _others = [choice for choice in _entry.metadata["choices"] if choice != default_of(_name)]
        VALUES[_name] = ((_others or [default_of(_name)])[0],) * 2
    elif isinstance(default_of(_name), bool):
        VALUES[_name] = ("no", False) if default_of(_name) else ("yes", True)

BAD_VALUES = {
    "epochs": ("0", "-1", "1.5", "ten", "", "true", "1,2", "inf"),
    "embedding_size": ("0",),
    "n_layers": ("-1", "two"),
    "user_k": ("0",),
    "knn_k": ("0",),
    "learning_rate": ("0", "-1", "fast", "nan", "inf"),
    "mda_weight": ("-0.1", "nan"),
    "temperature": ("0",),
    "input_scale": ("0", "-1"),
    "seed": ("-1", "1.5", "9" * 30),
    "row_normalize": ("maybe", "2"),
    "split_ratios": ("0.8,0.1", "0.5,0.1,0.1", "0,0.5,0.5", "1.2,-0.1,-0.1", "a,b,c"),
    "topk": ("", "0", "5,0", "5,x"),
    "valid_metric": ("recall", "recall@", "recall@0", "hits@5", "recall@-1"),
    "nlt": ("fixed", "fixed:", "fixed:2", "fixed:-0.1", "fixed:nan", "fixed:x", "Preference"),
    "features": ("image", "image=", "=a.npy"),
}


@pytest.fixture
def read(tmp_path):
    """The options and notes of a YAML text."""

    def read(text: str):
        path = tmp_path / "options.yaml"
        path.write_text(text, encoding="utf-8")
        return read_yaml(path)

    return read


def _from_flags(*arguments: str, yaml_path=None) -> Config:
    parser = make_parser("test", "Tests options.")
    add_options(parser)
    return make_config(collect_options(parser.parse_args(normalise_flags(list(arguments), own=("help",))), yaml_path))


def _refused(call, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def _spellings(name: str) -> list[str]:
    return [name, *OPTIONS[name].metadata["aliases"]]


SPELLINGS = [(name, spelling) for name in OPTIONS for spelling in _spellings(name)]


# ---------------------------------------------------------------------------------------------------------------------
# Every option


def test_every_option_is_tried_here():
    assert set(VALUES) == set(OPTIONS)
    assert not [name for name in OPTIONS if VALUES[name][1] == default_of(name)]


def test_the_defaults_are_valid():
    assert Config() == make_config({}) == _from_flags()


@pytest.mark.parametrize("name, spelling", SPELLINGS)
def test_every_name_is_a_flag(name, spelling):
    typed, value = VALUES[name]
    expected = Config(**{name: value})
    for flag in (f"--{spelling}", f"--{spelling.replace('_', '-')}", f"--{spelling.upper()}"):
        assert _from_flags(flag, typed) == _from_flags(f"{flag}={typed}") == expected


@pytest.mark.parametrize("name, spelling", SPELLINGS)
def test_every_name_is_a_yaml_key(read, name, spelling):
    typed, value = VALUES[name]
    native = list(value) if isinstance(value, tuple) else value
    for content in (native, typed):
        options, notes = read(yaml.safe_dump({spelling: content}))
        assert make_config(options) == Config(**{name: value}) and notes == []


def test_no_name_means_two_options():
    assert len(KEYS) == sum(len(set(map(str.lower, _spellings(name)))) for name in OPTIONS)
    assert not {key.lower() for key in MMREC_ONLY} & set(KEYS)


def test_help_has_every_option_and_its_default():
    parser = make_parser("test", "Tests options.")
    add_options(parser)
    text = " ".join(parser.format_help().split())
    for name, entry in OPTIONS.items():
        assert f"--{name.replace('_', '-')} " in text
        assert entry.metadata["help"].split(";")[0].split()[0] in text
    for shown in ("(default: baby)", "(default: 0.8,0.1,0.1)", "(default: True)", "(default: 5,10,20,50)"):
        assert shown in text


@pytest.mark.parametrize("name", [name for name in OPTIONS if OPTIONS[name].metadata["choices"]])
def test_choices(name):
    for choice in OPTIONS[name].metadata["choices"]:
        assert getattr(_from_flags(f"--{name}", choice), name) == choice
    _refused(lambda: _from_flags(f"--{name}", "other"), name, "other", *OPTIONS[name].metadata["choices"])


@pytest.mark.parametrize("name, typed", [(name, typed) for name, bad in BAD_VALUES.items() for typed in bad])
def test_values_that_cannot_be(read, name, typed):
    _refused(lambda: _from_flags(f"--{name}={typed}"), name)
    _refused(lambda: make_config(read(yaml.safe_dump({name: typed}))[0]), name)


@pytest.mark.parametrize("value", ("preference", "none", "free", "fixed:0", "fixed:1", "fixed:0.5", "fixed:1e-3"))
def test_every_form_of_nlt(value):
    assert _from_flags("--nlt", value).nlt == value


def test_switches_need_no_value():
    assert _from_flags("--require-real").require_real
    assert not _from_flags("--row-normalize", "false").row_normalize
    assert _from_flags("--require-real", "--epochs", "3") == Config(require_real=True, epochs=3)


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("epochs: 3\nseed: 5\n")
    assert _from_flags("--epochs", "7", yaml_path=path) == Config(epochs=7, seed=5)


def test_options_changed_are_checked_again():
    assert with_options(Config(), epochs=3) == Config(epochs=3)
    _refused(lambda: with_options(Config(), epochs=0), "epochs")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


def test_defaults_are_not_shared():
    Config().features["image"] = "a.npy"
    assert Config().features == {}


# ---------------------------------------------------------------------------------------------------------------------
# Round trip


@pytest.mark.parametrize("name", OPTIONS)
def test_round_trip_of_every_option(read, name):
    for config in (Config(), Config(**{name: VALUES[name][1]})):
        options, notes = read(config.to_yaml())
        assert make_config(options) == config and notes == []
        assert list(yaml.safe_load(config.to_yaml())) == list(OPTIONS), "every option is written, in order"


@pytest.mark.parametrize("seed", range(10))
def test_round_trip_of_combinations(read, seed):
    rng = np.random.default_rng(seed)
    chosen = {name: value for name, (_, value) in VALUES.items() if rng.random() < 0.5}
    config = Config(**chosen, **{} if "learning_rate" in chosen else {"learning_rate": float(10 ** rng.uniform(-8, 3))})
    assert make_config(read(config.to_yaml())[0]) == config


@pytest.mark.parametrize(
    "text", ("null", "~", "yes", "123", "1e3", "a: b", "it's", '"', " ", "#x", "Zürich 店", "a\nb", "x:y")
)
def test_round_trip_of_difficult_text(read, text):
    config = Config(dataset=text, user_column=text, features={"image": text})
    assert make_config(read(config.to_yaml())[0]) == config


# ---------------------------------------------------------------------------------------------------------------------
# MMRec's files

OVERALL = r"""
# general
gpu_id: 0
use_gpu: True
seed: [999]
data_path: '../data/'
inter_splitting_label: 'x_label'
filter_out_cod_start_users: True
is_multimodal_model: True
checkpoint_dir: 'saved'
save_recommended_topk: True
recommend_topk: 'recommend_topk/'
embedding_size: 64
weight_decay: 0.0
req_training: True
epochs: 1000
stopping_step: 20
train_batch_size: 2048
learner: adam
learning_rate: 0.001
learning_rate_scheduler: [1.0, 50]
eval_step: 1
training_neg_sample_num: 1
use_neg_sampling: True
use_full_sampling: False
NEG_PREFIX: neg__
USER_ID_FIELD: user_id:token
ITEM_ID_FIELD: item_id:token
TIME_FIELD: timestamp:float
field_separator: "\t"
metrics: ["Recall", "NDCG", "Precision", "MAP"]
topk: [5, 10, 20, 50]
valid_metric: Recall@20
eval_batch_size: 4096
use_raw_features: False
max_txt_len: 32
max_img_size: 256
vocab_size: 30522
type_vocab_size: 2
hidden_size: 4
pad_token_id: 0
max_position_embeddings: 512
layer_norm_eps: 1e-12
hidden_dropout_prob: 0.1
end2end: False
hyper_parameters: ["seed"]
"""

MODEL = """
embedding_size: 64
feat_embed_dim: 64
n_layers: [2]
n_mm_layers: [1]
knn_k: [10]
mm_image_weight: [0.1]
aggr_mode: ['add']
learning_rate: [1e-4]
reg_weight: [0.001]
hyper_parameters: ["learning_rate", "reg_weight"]
"""

DATA_SET = r"""
USER_ID_FIELD: userID
ITEM_ID_FIELD: itemID
TIME_FIELD: 'timestamp'
filter_out_cod_start_users: True
inter_file_name: 'baby.inter'
vision_feature_file: 'image_feat.npy'
text_feature_file: 'text_feat.npy'
user_graph_dict_file: 'user_graph_dict.npy'
field_separator: "\t"
"""


def test_overall_settings_of_mmrec(read):
    options, notes = read(OVERALL)
    assert make_config(options) == Config(
        seed=999,
        data_dir="../data/",
        split_column="x_label",
        embedding_size=64,
        learning_rate=0.001,
        train_batch_size=2048,
        user_column="user_id",
        item_column="item_id",
        time_column="timestamp",
        topk=(5, 10, 20, 50),
        valid_metric="Recall@20",
    )
    (note,) = notes
    assert "passed over" in note and "\n" not in note
    for key in ("gpu_id", "NEG_PREFIX", "metrics", "hyper_parameters"):
        assert key in note
    assert "learning_rate," not in note and "seed" not in note


def test_model_settings_of_mmrec(read):
    options, notes = read(MODEL)
    config = make_config(options)
    assert config == Config(n_layers=2, knn_k=10, learning_rate=1e-4, reg_weight=0.001, blend_weights=(0.1, 0.9))
    assert "n_mm_layers, aggr_mode, hyper_parameters" in notes[0]


def test_data_set_settings_of_mmrec(read):
    config = make_config(read(DATA_SET)[0])
    assert config.features == {"image": "image_feat.npy", "text": "text_feat.npy"}
    assert (config.user_column, config.item_column, config.time_column) == ("userID", "itemID", "timestamp")


def test_our_features_win_over_those_of_mmrec(read):
    assert read(DATA_SET + "features: {image: mine.npy}\n")[0]["features"] == {"image": "mine.npy"}


@pytest.mark.parametrize(
    "line", ("learning_rate: [0.1, 0.01]", "nlt: [free, none]", "reg_weight: []", "mm_image_weight: [0.1, 0.5]")
)
def test_a_grid_is_refused(read, line):
    _refused(lambda: read(line), line.partition(":")[0], "needs one value, not a list; run once for each")


def test_a_grid_does_not_matter_where_a_flag_decides(tmp_path):
    path = tmp_path / "DRAGON.yaml"
    path.write_text("learning_rate: [0.1, 0.01]\nreg_weight: [0.1, 0.2]\nn_layers: [2]\n")
    config = _from_flags("--lr", "0.5", "--reg-weight", "0.25", yaml_path=path)
    assert (config.learning_rate, config.reg_weight, config.n_layers) == (0.5, 0.25, 2)
    _refused(lambda: _from_flags("--lr", "0.5", yaml_path=path), "reg_weight", "needs one value")


# ---------------------------------------------------------------------------------------------------------------------
# From Python


def test_values_from_python(tmp_path):
    config = make_config({"lr": 1, "dataset": tmp_path, "topk": (5, 10), "features": {"image": "a", "text": "b"}})
    assert (config.learning_rate, config.dataset, config.topk) == (1.0, str(tmp_path), (5, 10))
    assert make_config(dataclasses.asdict(config)) == config
    _refused(lambda: make_config({"epochs": "many"}), "epochs", "needs a whole number")
    _refused(lambda: make_config({"epoch": 3}), "epoch", "did you mean epochs?")


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
    _refused(lambda: read(f"{typed}: 1"), typed, f"did you mean {meant}?", "options.yaml")
    _refused(lambda: _from_flags(f"--{typed}", "1"), typed, f"did you mean {meant}?", "command line")


def test_a_name_like_no_other(read):
    _refused(lambda: read("zzzzzz: 1"), "zzzzzz", "--help")
    _refused(lambda: _from_flags("--zzzzzz"), "zzzzzz", "--help")


def test_no_abbreviations():
    """A shortened flag would change its meaning when an option is added."""
    _refused(lambda: _from_flags("--epoch", "3"), "did you mean epochs?")


def test_arguments_that_are_no_flags():
    _refused(lambda: _from_flags("baby"), "baby", "--help")
    _refused(lambda: _from_flags("--epochs"), "epochs", "--help")


@pytest.mark.parametrize(
    "text, said",
    (
        ("epochs: [1", "not valid YAML"),
        ("epochs: 1\n\tseed: 2", "at line 2"),
        ("- epochs", "not a mapping"),
        ("just words", "not a mapping"),
        ("epochs: {a: 1}", "needs a whole number"),
        ("epochs:", "needs a whole number"),
        ("row_normalize: 3", "needs true or false"),
        ("topk: {5: 10}", "needs a whole number"),
        ("topk: [[5], 10]", "needs a whole number"),
        ("learning_rate: true", "needs a number"),
        ("mm_image_weight: much", "needs a number"),
        ("mm_image_weight:", "needs a number"),
        ("features: image.npy", "needs name=file"),
        ("? [1, 2]\n: 3", "options.yaml"),
        ("epochs: 1\nseed: 2\nepochs: 3", "epochs is written 2 times"),
        ("features: {image: a.npy, image: b.npy}", "image is written 2 times"),
        ("lr: 0.1\nlearning_rate: 0.2", "learning_rate sets learning_rate to another value"),
        ("mm_image_weight: 0.1\nblend_weights: [0.2, 0.8]", "blend_weights sets blend_weights to another value"),
        ("blend_weights: [0.2, 0.8]\nmm_image_weight: 0.1", "mm_image_weight sets blend_weights"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ),
)
def test_files_that_cannot_be_used(read, text, said):
    _refused(lambda: read(text), "options.yaml", said)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        _refused(lambda: read_yaml(path), str(path))


@pytest.mark.parametrize("text", ("", "# nothing but a remark\n", "{}"))
def test_empty_files(read, text):
    assert read(text) == ({}, [])


def test_numbers_as_people_write_them():
    """YAML reads 1e-4 as text, and whole numbers may come with a point."""
    assert convert("learning_rate", "1e-4", "") == 1e-4
    assert convert("learning_rate", 1, "") == 1.0 and isinstance(convert("learning_rate", 1, ""), float)
    assert convert("epochs", 10.0, "") == 10 and isinstance(convert("epochs", 10.0, ""), int)
    assert convert("topk", 5, "") == (5,)
    assert convert("topk", "5, 10", "") == (5, 10)
    assert convert("data_dir", None, "") is None
