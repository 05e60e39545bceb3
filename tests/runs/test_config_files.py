"""The config.yaml of a run is read by this version, whichever wrote it; what it cannot make sense of it refuses."""

from __future__ import annotations

import pytest
import yaml
from option_values import VALUES, config_of
from refused import assert_refused

from mde_fast import __version__
from mde_fast.models import model_names
from mde_fast.runs.config import is_older, make_config, read_config, schema
from mde_fast.runs.run import RunFolder

# What 0.1.0 wrote for every model: the options of all rooms and those of mde.
YOUNGER = {"minutes": None, "feature_rank": "full"}  # and what was done without them
OLD = {name: value for name, value in make_config({}).values().items() if name not in YOUNGER}
NEWER = "99.1.0"


def _notes(path) -> list[str]:
    return [
        f"{path}: older than minutes, which has its default None",
        f"{path}: older than feature_rank, which stays full",
    ]


@pytest.fixture
def write(tmp_path):
    """write(values) -> the path of a config.yaml."""

    def write(values: dict):
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(plain, sort_keys=False))
        return path

    return write


def of_this_version(**changes) -> dict:
    return {**yaml.safe_load(make_config({}).to_yaml()), **changes}


@pytest.mark.parametrize("model", model_names())
def test_what_this_version_writes_it_reads_without_a_note(tmp_path, model):
    chosen = {name: value for name, (_, value) in VALUES.items() if name in schema(model) and name != "model"}
    config = config_of(model, **chosen)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert read_config(tmp_path / "config.yaml") == (config, [])


def test_a_file_says_which_version_wrote_it(tmp_path):
    (tmp_path / "config.yaml").write_text(make_config({}).to_yaml())
    assert of_this_version()["mde_fast"] == __version__
    assert not is_older(tmp_path / "config.yaml", __version__)


# ---------------------------------------------------------------------------------------------------------------------
# Of 0.1.0, whose files do not say so


def test_an_option_younger_than_the_file_is_as_it_was_without_it_and_a_note_says_so(write):
    path = write({**OLD, "epochs": 7})
    config, notes = read_config(path)
    assert config == config_of("mde", epochs=7, **YOUNGER)
    assert notes == _notes(path)
    assert is_older(path, "0.2.0")


def test_every_option_but_the_younger_ones_is_that_of_the_file(write):
    old = {name: value for name, (_, value) in VALUES.items() if name in OLD and name != "model"}
    config, _ = read_config(write({**OLD, **old}))
    assert config.values() == {**OLD, **old, **YOUNGER}


def test_a_lightgcn_file_of_0_1_0_names_mde_s_options_which_are_passed_over(write):
    path = write({**OLD, "model": "lightgcn", "mda_weight": 0.5, "nlt": "free", "n_layers": 3})
    config, notes = read_config(path)
    assert config == config_of("lightgcn", n_layers=3, **YOUNGER)
    assert notes == _notes(path)


def test_what_no_model_ever_had_is_refused_in_an_old_file_too(write):
    path = write({**OLD, "model": "lightgcn", "frobnicate": 1})
    assert_refused(lambda: read_config(path), path, "unknown option frobnicate", "if the file was edited, restore it")


def test_an_old_file_that_lacks_an_option_of_its_time_is_refused(write):
    path = write({name: value for name, value in OLD.items() if name != "epochs"})
    assert_refused(lambda: read_config(path), f"{path}: lacks epochs; it was cut off or edited, restore it")


def test_the_note_reaches_the_log(tmp_path, write, caplog):
    write(OLD)
    with caplog.at_level("INFO", "mde_fast"):
        RunFolder.open(tmp_path).config()
    assert "older than minutes, which has its default None" in caplog.text


def test_an_option_may_be_missing_only_in_files_older_than_itself(write):
    content = {name: value for name, value in of_this_version().items() if name != "minutes"}
    assert schema("mde")["minutes"].since == "0.2.0"
    assert read_config(write({**content, "mde_fast": "0.1.9"}))[0] == make_config({})
    assert_refused(lambda: read_config(write({**content, "mde_fast": "0.2.0"})), "lacks minutes")


# ---------------------------------------------------------------------------------------------------------------------
# Of this version


@pytest.mark.parametrize("name", [name for name in schema("mde") if name != "model"])
def test_a_file_of_this_version_that_lacks_an_option_is_refused(write, name):
    content = of_this_version()
    del content[name]
    path = write(content)
    assert_refused(lambda: read_config(path), f"{path}: lacks {name}; it was cut off or edited, restore it")


def test_a_file_that_was_cut_off_is_refused_with_all_that_it_lacks(write):
    content = dict(list(of_this_version().items())[:-2])
    assert_refused(lambda: read_config(write(content)), "lacks topk, valid_metric")


def test_an_option_of_another_model_is_refused_in_a_file_of_this_version(write):
    content = {**yaml.safe_load(make_config({"model": "lightgcn"}).to_yaml()), "mda_weight": 0.5}
    path = write(content)
    said = f"{path}: mda_weight is an option of mde, not of lightgcn"
    assert_refused(lambda: read_config(path), said, "if the file was edited, restore it")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"epoch": 3}, "unknown option epoch; did you mean epochs?"),
        ({"epochs": "many"}, "epochs=many: needs a whole number"),
        ({"epochs": 0}, "epochs: 0 must be 1 or more"),
        ({"precision": "fp8"}, "precision: 'fp8' is not one of fp32, tf32, bf16"),
        ({"model": "bpr"}, "model: 'bpr' is not one of mde, "),
    ],
)
def test_a_file_that_was_edited_to_something_that_cannot_be_is_refused_by_name(write, changes, said):
    path = write(of_this_version(**changes))
    assert_refused(lambda: read_config(path), f"{path}: ", said)


# ---------------------------------------------------------------------------------------------------------------------
# Of a newer version


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"frobnicate": 1}, "unknown option frobnicate"),
        ({"model": "lightgcn"}, "is an option of mde, not of lightgcn"),
        ({"model": "bpr"}, "model: 'bpr' is not one of mde, "),
        ({"precision": "fp8"}, "precision: 'fp8' is not one of"),
        ({"epochs": "until noon"}, "epochs=until noon: needs a whole number"),
    ],
)
def test_a_newer_file_that_is_not_understood_is_refused_with_both_versions(write, changes, said):
    path = write(of_this_version(mde_fast=NEWER, **changes))
    assert_refused(lambda: read_config(path), f"{path} (of mde_fast {NEWER}, this is {__version__}): ", said)


def test_a_newer_file_that_lacks_an_option_is_refused_with_both_versions(write):
    content = of_this_version(mde_fast=NEWER)
    del content["cuda_graph"]
    said = f"(of mde_fast {NEWER}, this is {__version__}): lacks cuda_graph"
    assert_refused(lambda: read_config(write(content)), said)


def test_a_newer_file_that_is_understood_is_read(write):
    assert read_config(write(of_this_version(mde_fast=NEWER, epochs=4))) == (config_of("mde", epochs=4), [])


@pytest.mark.parametrize("version", ["0.2.0", "0.2.0rc1", "0.2.0.dev3", "0.10", "1.0.0"])
def test_versions_are_compared_number_by_number(write, version):
    path = write(of_this_version(mde_fast=version))
    assert not is_older(path, "0.2.0" if version != "0.10" else "0.9.1")
    assert is_older(write(OLD), "0.2.0")
