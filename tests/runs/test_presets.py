"""Presets: which one a dataset has, what wins over it, and that it comes with the package."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from refused import assert_refused
from small_runs import LIGHTGCN_FLAGS, OPTIONS, write_shop

from mde_fast.models import model_names
from mde_fast.options import read_mapping
from mde_fast.runs import presets
from mde_fast.runs.config import Config, make_config, schema
from mde_fast.runs.presets import find_preset, preset_names
from mde_fast.runs.run import RunFolder

SHIPPED = {"mde": ["large", "lfm2k", "tiktok"], "lightgcn": ["default", "large", "lfm2k"]}
SECTIONS = [(model, name) for model, names in SHIPPED.items() for name in names]
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items() if name != "learning_rate"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def own_presets(tmp_path, monkeypatch):
    """own_presets(shop={...}) makes these the presets of a model, and the only ones of the package."""

    def own_presets(model: str = "mde", **sections) -> Path:
        folder = tmp_path / "presets"
        folder.mkdir(exist_ok=True)
        (folder / f"{model}.yaml").write_text(yaml.safe_dump(sections))
        monkeypatch.setattr(presets, "FOLDER", folder)
        return folder

    return own_presets


def options_of(run: str) -> Config:
    return RunFolder.open(run).config()


def test_these_come_with_the_package():
    assert {model: preset_names(model) for model in SHIPPED} == SHIPPED
    assert {path.stem for path in presets.FOLDER.glob("*.yaml")} <= set(model_names())


@pytest.mark.parametrize("model, name", SECTIONS)
def test_each_says_how_it_was_found_and_is_valid(model, name):
    preset = find_preset("", name, model=model)
    assert (preset.name, preset.model) == (name, model) and len(preset.found.split()) > 10
    values = make_config({**preset.options, "model": model}).values()
    assert {option: values[option] for option in preset.options} == preset.options
    section = read_mapping(presets.FOLDER / f"{model}.yaml")[name]
    assert set(preset.options) == set(section) - {"found"}, "options have their own names"


@pytest.mark.parametrize("model, name", SECTIONS)
def test_each_names_only_what_is_not_the_default(model, name):
    options = find_preset("", name, model=model).options
    assert options and not [option for option in options if options[option] == schema(model)[option].default]


@pytest.mark.parametrize("dataset", ["baby", "sports", "clothing", "elsewhere"])
def test_what_was_found_on_baby_is_what_mde_has_without_a_preset(dataset):
    preset = find_preset(dataset)
    assert (preset.name, preset.options) == ("none", {})
    found = {
        "learning_rate": 0.0001,
        "layer_combine": "sum",
        "mda_weight": 0.01,
        "msa_weight": 0.01,
        "reg_weight": 0.001,
    }
    values = make_config({**preset.options, "dataset": dataset}).values()
    assert {name: values[name] for name in found} == found


def test_what_was_found_on_tiktok():
    assert find_preset("tiktok").options == {
        "learning_rate": 0.0005,
        "input_scale": 0.82,
        "projection_hidden": 1024,
        "modality_losses": False,
        "mda": "abs_cos",
        "mda_weight": 0.05,
        "msa_weight": 0.08,
    }


def test_what_was_found_for_lightgcn():
    assert find_preset("tiktok", model="lightgcn").options == {"learning_rate": 0.001, "reg_weight": 0.0001}


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("baby", "baby"),
        ("Baby", "baby"),
        ("data/SPORTS", "sports"),
        ("data/sports/", "sports"),
        ("/some/where/tiktok", "tiktok"),
        ("data/clothing/clothing.inter", "clothing"),
        ("data/baby/train.txt", "baby"),
        ("baby2", "default"),
        ("baby/other", "default"),
        ("purchases.csv", "default"),
    ],
)
def test_by_the_name_of_the_dataset(own_presets, dataset, name):
    own_presets(**{one: {"found": one} for one in ("baby", "sports", "clothing", "tiktok", "default")})
    assert (find_preset(dataset).name, find_preset(dataset).found) == (name, name)


@pytest.mark.parametrize(
    "dataset, name", [("TikTok", "tiktok"), ("data/tiktok/tiktok.inter", "tiktok"), ("baby", "none")]
)
def test_those_of_the_package_by_the_name_of_the_dataset(dataset, name):
    assert find_preset(dataset).name == name
    assert find_preset(dataset, model="lightgcn").name == "default"


def test_by_the_name_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "tiktok").mkdir()
    monkeypatch.chdir(tmp_path / "tiktok")
    assert find_preset(".").name == "tiktok"


def test_another_one_by_name_or_file(tmp_path):
    assert find_preset("baby", "TikTok").name == "tiktok"
    assert find_preset("tiktok", "none").options == {}
    (tmp_path / "mine.yaml").write_text("# Found by trying.\nlambda: 0.5\n")
    preset = find_preset("baby", str(tmp_path / "mine.yaml"))
    assert (preset.options, preset.found) == ({"reg_weight": 0.5}, "Found by trying.")


@pytest.mark.parametrize("model, name", [("mde", "babi"), ("mde", "default"), ("lightgcn", "tiktok")])
def test_one_that_the_model_has_not_is_refused(model, name):
    said = f"--preset: {model} has none called {name}; choose {', '.join(SHIPPED[model])}, none"
    assert_refused(lambda: find_preset("baby", name, model=model), said, "or give a file that ends in .yaml")


def test_a_model_without_presets_has_defaults(own_presets):
    own_presets(shop={"reg_weight": 0.1})
    assert find_preset("shop", model="lightgcn").name == "none" and preset_names("lightgcn") == []


def test_a_dataset_s_own_wins_over_the_general_one(own_presets):
    own_presets(default={"reg_weight": 0.1}, shop={"reg_weight": 0.2})
    assert find_preset("shop").options == {"reg_weight": 0.2}
    assert find_preset("elsewhere").options == {"reg_weight": 0.1}


def test_one_of_another_model_s_options_is_refused(own_presets):
    own_presets("lightgcn", shop={"mda_weight": 0.1})
    said = "preset shop of lightgcn: mda_weight is an option of mde, not of lightgcn"
    assert_refused(lambda: find_preset("shop", model="lightgcn"), said)


def test_a_file_of_another_model_is_refused(tmp_path):
    """It would make a run of that model."""
    path = tmp_path / "theirs.yaml"
    path.write_text("model: lightgcn\nreg_weight: 0.5\n")
    said = f"--preset: {path} is of the model lightgcn, not of mde; train with --model lightgcn"
    assert_refused(lambda: find_preset("baby", str(path)), said)
    assert find_preset("baby", str(path), model="lightgcn").options == {"reg_weight": 0.5}


def test_default_preset_file_flag(command, shop, own_presets, tmp_path):
    preset = {"reg_weight": 0.1, "mda_weight": 0.1, "msa_weight": 0.1, "learning_rate": 0.01}
    own_presets(shop=preset, default={"temperature": 9})
    (tmp_path / "mine.yaml").write_text("a: 0.2\nb: 0.2\n")
    outcome = command("train", *FLAGS, "--config", tmp_path / "mine.yaml", "--b=0.3", "--output", "run", "--epochs=1")
    assert outcome.status == 0, outcome.err
    hyper = options_of("run").hyper
    assert (hyper.reg_weight, hyper.mda_weight, hyper.msa_weight, hyper.temperature) == (0.1, 0.2, 0.3, 0.2)
    line = "preset shop of mde: learning_rate 0.01, reg_weight 0.1; given otherwise: mda_weight, msa_weight"
    assert line in outcome.out.splitlines()
    assert line in Path("run/log.txt").read_text()


def test_the_one_of_the_chosen_model(command, shop, own_presets, tmp_path):
    own_presets("mde", shop={"reg_weight": 0.1})
    own_presets("lightgcn", shop={"reg_weight": 0.2, "n_layers": 1})
    (tmp_path / "mine.yaml").write_text("model: lightgcn\nn_layers: 3\n")
    flags = [flag for flag in LIGHTGCN_FLAGS if not flag.startswith(("--model", "--preset"))]
    outcome = command("train", *flags, "--config", tmp_path / "mine.yaml", "--output", "run", "--epochs=1")
    assert outcome.status == 0, outcome.err
    config = options_of("run")
    assert (config.model, config.hyper.reg_weight, config.hyper.n_layers) == ("lightgcn", 0.2, 3)
    assert "preset shop of lightgcn: reg_weight 0.2; given otherwise: n_layers" in outcome.out.splitlines()


@pytest.mark.parametrize("name", ["none", "other"])
def test_another_one_for_a_run(command, shop, own_presets, name):
    own_presets(shop={"reg_weight": 0.1}, other={"reg_weight": 0.3})
    outcome = command("train", *FLAGS, "--preset", name, "--output", "run", "--epochs", 1)
    assert outcome.status == 0, outcome.err
    default = schema("mde")["reg_weight"].default
    assert options_of("run").hyper.reg_weight == {"none": default, "other": 0.3}[name]
    assert {"none": "no preset", "other": "preset other of mde: reg_weight 0.3"}[name] in outcome.out


def test_the_one_of_the_dataset_that_the_file_names(command, shop, own_presets, tmp_path):
    write_shop(tmp_path / "other").rename(tmp_path / "here/data/mall")
    own_presets(shop={"reg_weight": 0.1}, mall={"reg_weight": 0.3}, default={})
    (tmp_path / "mine.yaml").write_text("dataset: mall\n")
    flags = [flag for flag in FLAGS if not flag.startswith("--dataset")]
    assert command("train", *flags, "--config", tmp_path / "mine.yaml", "--output", "run", "--epochs", 1).status == 0
    assert options_of("run").hyper.reg_weight == 0.3


def test_a_run_goes_on_without_its_preset(command, shop, own_presets):
    folder = own_presets(shop={"reg_weight": 0.1})
    assert command("train", *FLAGS, "--output", "run", "--epochs", 1).status == 0
    (folder / "mde.yaml").write_text("shop: [nonsense\n")
    outcome = command("train", "--resume", "run", "--epochs", 2)
    assert outcome.status == 0, outcome.err
    assert options_of("run").hyper.reg_weight == 0.1


def test_refusals(command, shop, refused, own_presets):
    refused(command("train", *FLAGS, "--preset", "shoop"), "mde has none called shoop")
    refused(command("train", *FLAGS, "--preset", "nowhere.yaml"), "nowhere.yaml: cannot be read")
    refused(command("train", "--resume", "run", "--preset", "baby"), "--preset: a resumed run keeps its options")
    own_presets(shop={"epoch": 3})
    refused(command("train", *FLAGS), "preset shop of mde: unknown option epoch")
    assert not Path("runs").exists()


def test_they_are_in_what_is_installed(tmp_path):
    """In a wheel and in a source distribution, built from a copy of the sources."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools 77 or newer")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("mde_fast", "kernels"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import *; build_wheel('..'); build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        in_wheel = set(file.namelist())
    with tarfile.open(archive) as file:
        in_archive = {name.partition("/")[2] for name in file.getnames()}
    for name in SHIPPED:
        path = f"mde_fast/runs/presets/{name}.yaml"
        assert path in in_wheel and path in in_archive


@pytest.mark.parametrize(
    "flags, sections, taken",
    [
        ([], {}, True),
        ([], {"default": {"n_layers": 1, "found": "-"}}, True),
        ([], {"shop": {"n_layers": 1, "found": "-"}}, False),
        (["--train-batch-size=32"], {}, False),
        (["--learning-rate=0.5"], {}, False),
        (["--preset=none"], {}, False),
        (["--preset=NONE"], {}, False),
        (["--preset=default"], {"default": {"n_layers": 1, "found": "-"}}, False),
        (["--preset=large"], {}, True),
    ],
)
def test_large_data_have_larger_steps(own_presets, command, shop, monkeypatch, flags, sections, taken):
    """Batch and learning rate go together: where one is given, both are as they would be."""
    own_presets(**sections, large={"train_batch_size": 128, "learning_rate": 0.02, "found": "-"})
    few = [flag for flag in FLAGS if "batch" not in flag and "epochs" not in flag]
    line = "420 training interactions: learning_rate 0.02, train_batch_size 128, for fewer steps"
    outcome = command("train", *few, *flags, "--epochs=1", "--output=small")
    assert outcome.status == 0 and line not in outcome.out
    monkeypatch.setattr("mde_fast.runs.life.MANY", 419)
    outcome = command("train", *few, *flags, "--epochs=1", "--output=run")
    assert (line in outcome.out) == (taken and not flags), "a preset that is named says so itself"
    options = options_of("run").training
    assert ((options.train_batch_size, options.learning_rate) == (128, 0.02)) == taken
