"""Presets: which one a dataset has, what wins over it, and that it comes with the package."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from small_runs import OPTIONS, write_shop

from mde_fast.errors import InputError
from mde_fast.runs import presets
from mde_fast.runs.config import Config, make_config, read_yaml
from mde_fast.runs.presets import find_preset, preset_names
from mde_fast.runs.run import RunFolder

SHIPPED = ["baby", "clothing", "default", "lightgcn", "sports", "tiktok"]
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items() if name != "learning_rate"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def own_presets(tmp_path, monkeypatch):
    """own_presets(shop={...}) makes these the presets of the package."""

    def own_presets(**options) -> Path:
        folder = tmp_path / "presets"
        folder.mkdir(exist_ok=True)
        for name, values in options.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        monkeypatch.setattr(presets, "FOLDER", folder)
        return folder

    return own_presets


def options_of(run: str) -> Config:
    return RunFolder.open(run).config()


def test_these_come_with_the_package():
    assert preset_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_each_says_how_it_was_found_and_is_valid(name):
    first, second, *_ = (presets.FOLDER / f"{name}.yaml").read_text().splitlines()
    assert first.startswith("# Options") and "# How they were found: " in second
    options, notes = read_yaml(presets.FOLDER / f"{name}.yaml")
    assert notes == [] and make_config(options) == make_config(find_preset(name).options)
    assert {"learning_rate", "reg_weight"} <= set(options)


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
def test_by_the_name_of_the_dataset(dataset, name):
    assert find_preset(dataset).name == name
    assert find_preset(dataset, model="lightgcn").name == "lightgcn"


def test_by_the_name_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "baby").mkdir()
    monkeypatch.chdir(tmp_path / "baby")
    assert find_preset(".").name == "baby"


def test_another_one_by_name_or_file(tmp_path):
    assert find_preset("baby", "Sports").name == "sports"
    assert find_preset("baby", "none").options == {}
    (tmp_path / "mine.yaml").write_text("lambda: 0.5\n")
    assert find_preset("baby", str(tmp_path / "mine.yaml")).options == {"reg_weight": 0.5}
    with pytest.raises(InputError, match=f"none called babi; choose {', '.join(SHIPPED)}, none"):
        find_preset("baby", "babi")


def test_a_dataset_s_own_wins_over_the_general_one(own_presets):
    own_presets(default={"reg_weight": 0.1}, shop={"reg_weight": 0.2})
    assert find_preset("shop").options == {"reg_weight": 0.2}
    assert find_preset("elsewhere").options == {"reg_weight": 0.1}


def test_default_preset_file_flag(command, shop, own_presets, tmp_path):
    preset = {"reg_weight": 0.1, "mda_weight": 0.1, "msa_weight": 0.1, "learning_rate": 0.01}
    own_presets(shop=preset, default={"temperature": 9})
    (tmp_path / "mine.yaml").write_text("a: 0.2\nb: 0.2\n")
    outcome = command("train", *FLAGS, "--config", tmp_path / "mine.yaml", "--b=0.3", "--output", "run", "--epochs=1")
    assert outcome.status == 0, outcome.err
    config = options_of("run")
    assert (config.reg_weight, config.mda_weight, config.msa_weight, config.temperature) == (0.1, 0.2, 0.3, 0.2)
    line = "preset shop: learning_rate 0.01, reg_weight 0.1; given otherwise: mda_weight, msa_weight"
    assert line in outcome.out.splitlines()
    assert line in Path("run/log.txt").read_text()


@pytest.mark.parametrize("name", ["none", "other"])
def test_another_one_for_a_run(command, shop, own_presets, name):
    own_presets(shop={"reg_weight": 0.1}, other={"reg_weight": 0.3})
    outcome = command("train", *FLAGS, "--preset", name, "--output", "run", "--epochs", 1)
    assert outcome.status == 0, outcome.err
    assert options_of("run").reg_weight == {"none": Config().reg_weight, "other": 0.3}[name]
    assert {"none": "no preset", "other": "preset other: reg_weight 0.3"}[name] in outcome.out


def test_the_one_of_the_dataset_that_the_file_names(command, shop, own_presets, tmp_path):
    write_shop(tmp_path / "other").rename(tmp_path / "here/data/mall")
    own_presets(shop={"reg_weight": 0.1}, mall={"reg_weight": 0.3}, default={})
    (tmp_path / "mine.yaml").write_text("dataset: mall\n")
    flags = [flag for flag in FLAGS if not flag.startswith("--dataset")]
    assert command("train", *flags, "--config", tmp_path / "mine.yaml", "--output", "run", "--epochs", 1).status == 0
    assert options_of("run").reg_weight == 0.3


def test_a_run_goes_on_without_its_preset(command, shop, own_presets):
    folder = own_presets(shop={"reg_weight": 0.1})
    assert command("train", *FLAGS, "--output", "run", "--epochs", 1).status == 0
    (folder / "shop.yaml").write_text("reg_weight: [nonsense\n")
    outcome = command("train", "--resume", "run", "--epochs", 2)
    assert outcome.status == 0, outcome.err
    assert options_of("run").reg_weight == 0.1


def test_refusals(command, shop, refused, own_presets):
    refused(command("train", *FLAGS, "--preset", "shoop"), "none called shoop")
    refused(command("train", *FLAGS, "--preset", "nowhere.yaml"), "nowhere.yaml: cannot be read")
    refused(command("train", "--resume", "run", "--preset", "baby"), "--preset: a resumed run keeps its options")
    own_presets(shop={"epoch": 3})
    refused(command("train", *FLAGS), "shop.yaml: unknown option epoch")
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
    for name in [*(f"runs/presets/{preset}.yaml" for preset in SHIPPED), "search/space.yaml"]:
        assert f"mde_fast/{name}" in in_wheel and f"mde_fast/{name}" in in_archive
