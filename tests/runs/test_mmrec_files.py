"""MMRec's own YAML files are options here: its names are understood, its grids are searched."""

from __future__ import annotations

import pytest
import yaml
from mmrec_settings import DATASETS, DRAGON, LIGHTGCN, OURS_OF_A_DATASET, OURS_OF_OVERALL, OVERALL, dataset
from option_values import config_of, given_by
from refused import assert_refused

from mde_fast.runs.config import make_config, read_options


@pytest.fixture
def write(tmp_path):
    """write("name", content) -> the path of a YAML file; the content may be text."""

    def write(name: str, content):
        path = tmp_path / f"{name}.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


@pytest.fixture
def read(write):
    """read(content, model) -> what a file says for runs of that model."""
    return lambda content, model="mde", **others: read_options(write("options", content), (model,), **others)


# ---------------------------------------------------------------------------------------------------------------------
# The files as they are


@pytest.mark.parametrize("model", ["mde", "lightgcn"])
def test_overall_settings(read, model):
    found = read(OVERALL, model)
    assert found.options == OURS_OF_OVERALL
    assert make_config({"model": model, **found.options}) == config_of(model, **OURS_OF_OVERALL)
    assert found.grids == {}, "a grid of one value is that value"


def test_what_has_no_meaning_here_is_said_in_one_line(read):
    (note,) = read(OVERALL).notes
    ours = {"seed", "data_path", "inter_splitting_label", "embedding_size", "epochs", "stopping_step"}
    ours |= {"train_batch_size", "learning_rate", "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "topk"}
    ours |= {"valid_metric", "hyper_parameters"}
    said, _, names = note.partition(" passed over: ")
    assert said.endswith("options.yaml: no meaning here,") and "\n" not in note
    assert names.split(", ") == [key for key in OVERALL if key not in ours]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("model", ["mde", "lightgcn"])
def test_settings_of_a_data_set(read, name, model):
    found = read(dataset(name), model)
    assert found.options == OURS_OF_A_DATASET and found.grids == {}
    make_config({"model": model, **found.options})
    (note,) = found.notes
    passed_over = "filter_out_cod_start_users, inter_file_name, user_graph_dict_file, field_separator"
    assert note.endswith(f"no meaning here, passed over: {passed_over}")


def test_our_features_win_over_those_of_mmrec(read):
    assert read({**dataset("baby"), "features": {"image": "mine.npy"}}).options["features"] == {"image": "mine.npy"}
    assert "features" not in read(dataset("baby"), decided=("features",)).options


def test_settings_of_lightgcn(read):
    found = read(LIGHTGCN, "lightgcn")
    assert found.options == {"embedding_size": 64}
    assert found.grids == {"n_layers": (1, 2, 3, 4), "reg_weight": (0.01, 0.001, 1e-4, 1e-5, 1e-6)}
    passed_over, *grids = found.notes
    assert passed_over.endswith("passed over: is_multimodal_model") and len(grids) == 2


def test_settings_of_dragon_for_mde(read):
    found = read(DRAGON, "mde")
    assert found.options == {"embedding_size": 64, "n_layers": 2, "knn_k": 10, "blend_weights": (0.1, 0.9)}
    rates = (0.1, 0.01, 0.001, 0.0001, 0.00001)
    assert found.grids == {"learning_rate": rates, "reg_weight": rates}
    assert found.notes[0].endswith("no meaning here, passed over: n_mm_layers, aggr_mode")


def test_settings_of_dragon_are_not_lightgcn_s(read):
    assert_refused(lambda: read(DRAGON, "lightgcn"), "feat_embed_dim is an option of mde", "not of lightgcn")
    assert_refused(lambda: read({"mm_image_weight": 0.1}, "lightgcn"), "mm_image_weight is an option of mde")


def test_files_one_after_the_other_as_mmrec_reads_them(write):
    """Overall, data set, model: the later wins, and the model is that of the last one's name."""
    paths = [write("overall", OVERALL), write("baby", dataset("baby")), write("LightGCN", LIGHTGCN)]
    model, given = given_by(paths=paths)
    assert model == "lightgcn" and given.options == {**OURS_OF_OVERALL, **OURS_OF_A_DATASET}
    assert set(given.grids) == {"n_layers", "reg_weight"}
    make_config({**given.options, "model": model})
    model, given = given_by("--model=mde", paths=[*paths[:2], write("DRAGON", DRAGON)])
    assert set(given.grids) == {"learning_rate", "reg_weight"}
    assert "learning_rate" not in given.options, "the grid has taken its place"


# ---------------------------------------------------------------------------------------------------------------------
# Grids


@pytest.mark.parametrize("line", ["learning_rate: [0.1, 0.01]", "nlt: [free, none]", "reg_weight: []"])
def test_a_grid_that_the_file_does_not_call_so_is_refused(read, line):
    assert_refused(lambda: read(line), line.partition(":")[0], "needs one value, not a list; run once for each")
    assert_refused(lambda: read(f"{line}\nhyper_parameters: [seed]\n"), "needs one value, not a list")


def test_a_grid_is_no_value_and_the_line_about_it_says_what_to_do(read, tmp_path):
    found = read({"reg_weight": [0.1, 0.2], "hyper_parameters": ["reg_weight"]})
    path = tmp_path / "options.yaml"
    assert found.options == {} and found.notes == [
        f"{path}: reg_weight is a grid of 2 values, none of them chosen: python -m mde_fast.search --config {path} "
        "tries them, a flag takes one"
    ]


def test_a_grid_does_not_matter_where_a_flag_decides(write):
    path = write("DRAGON", DRAGON)
    model, given = given_by("--lr", "0.5", "--reg-weight", "0.25", paths=[path])
    assert model == "dragon"
    config = make_config({**given.options, "model": model})
    assert (config.training.learning_rate, config.hyper.reg_weight, config.hyper.n_layers) == (0.5, 0.25, 2)
    assert given.grids == {}
    grid = write("mine", "learning_rate: [0.1, 0.01]\nreg_weight: [0.1, 0.2]\n")
    assert_refused(lambda: given_by("--lr", "0.5", paths=[grid]), "reg_weight", "needs one value")


def test_a_flag_takes_one_value_of_a_grid_and_leaves_the_others(write):
    _, given = given_by("--n-layers", "3", paths=[write("LightGCN", LIGHTGCN)])
    assert given.options == {"n_layers": 3, "embedding_size": 64} and set(given.grids) == {"reg_weight"}


def test_the_values_of_a_grid_are_read_as_single_ones_are(read):
    found = read({"mm_image_weight": [0.1, 0.5], "hyper_parameters": ["mm_image_weight"]})
    assert found.grids == {"blend_weights": ((0.1, 0.9), (0.5, 0.5))}
    bad = {"learning_rate": [0.1, "fast"], "hyper_parameters": ["learning_rate"]}
    assert_refused(lambda: read(bad), "learning_rate=fast: needs a number")


def test_a_grid_and_another_value_contradict_each_other(read):
    text = "hyper_parameters: [lr]\nlr: [0.1, 0.2]\nlearning_rate: 0.3\n"
    assert_refused(lambda: read(text), "learning_rate sets learning_rate to another value than the key before")


@pytest.mark.parametrize("written", ["seed", "3", "{seed: 1}"])
def test_a_list_of_grids_that_is_none_is_refused(read, written):
    assert_refused(lambda: read(f"hyper_parameters: {written}\n"), "hyper_parameters: ", "is no list of keys")


def test_no_list_of_grids_is_an_empty_one(read):
    assert read("hyper_parameters:\n").grids == {}


# ---------------------------------------------------------------------------------------------------------------------
# Keys whose values have another form than ours


def test_the_weight_of_images_is_that_of_both_modalities(read):
    for written in (0.25, [0.25], "0.25"):
        assert read({"mm_image_weight": written}).options == {"blend_weights": (0.25, 0.75)}


@pytest.mark.parametrize(
    "text, said",
    [
        ("mm_image_weight: much", "needs a number"),
        ("mm_image_weight:", "needs a number"),
        ("mm_image_weight: .nan", "needs a number"),
        ("mm_image_weight: [0.1, 0.5]", "needs one value, not a list; run once for each"),
        ("mm_image_weight: 0.1\nblend_weights: [0.2, 0.8]", "blend_weights sets blend_weights to another value"),
        ("blend_weights: [0.2, 0.8]\nmm_image_weight: 0.1", "mm_image_weight sets blend_weights"),
    ],
)
def test_a_weight_of_images_that_cannot_be_is_refused(read, text, said):
    assert_refused(lambda: read(text), "options.yaml", said)


def test_such_a_key_is_of_files_alone():
    """As a flag it would set the option to a value of the wrong form."""
    assert_refused(lambda: given_by("--mm-image-weight", "0.1"), "unknown option mm-image-weight")
    assert_refused(lambda: make_config({"mm_image_weight": 0.1}), "unknown option mm_image_weight")


def test_a_column_s_type_is_not_part_of_its_name(read):
    assert read({"USER_ID_FIELD": "who:token_seq"}).options == {"user_column": "who"}
    assert read({"USER_ID_FIELD": "a:b"}).options == {"user_column": "a:b"}
