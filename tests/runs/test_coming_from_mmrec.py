"""What docs/coming_from_mmrec.md shows works as written, on a small data set; its tables of keys are true."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from small_runs import features, interactions, write_shop

from mde_fast.errors import InputError
from mde_fast.runs.config import read_options

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from_mmrec.md").read_text(encoding="utf-8")
DATASET_FILE = "USER_ID_FIELD: userID\nITEM_ID_FIELD: itemID\nvision_feature_file: 'image_feat.npy'\n"
DATASET_FILE += "text_feature_file: 'text_feat.npy'\nuser_graph_dict_file: 'user_graph_dict.npy'\n"
MODEL_FILE = "aggr_mode: ['add']\nlearning_rate: [0.001, 0.0001]\nreg_weight: [0.1, 0.01]\nmm_image_weight: 0.1\n"
MODEL_FILE += 'hyper_parameters: ["aggr_mode", "reg_weight", "learning_rate"]\n'
SHORTER = {"experiments": ("--epochs", 1), "search": ("--epochs", 1, "--trials", 2)}


@pytest.fixture
def what_a_user_has() -> None:
    """Baby in MMRec's form, a table of purchases with features, and two of MMRec's files."""
    write_shop(Path("data")).rename("data/baby")
    Path("data/baby/shop.inter").rename("data/baby/baby.inter")
    with open("purchases.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "sku", "date"])
        for place, (user, item, _) in enumerate(interactions()):
            writer.writerow([f"C{user:03d}", f"SKU {item}", f"2024-01-{1 + place % 28:02d}"])
    for name, matrix in features().items():
        skus = [f"SKU {item}" for item in range(len(matrix))]
        pq.write_table(pa.table({"sku": skus, "vector": matrix.tolist()}), f"{name}.parquet")
    for path, content in {"dataset/baby": DATASET_FILE, "model/DRAGON": MODEL_FILE}.items():
        place = Path(f"MMRec/src/configs/{path}.yaml")
        place.parent.mkdir(parents=True)
        place.write_text(content)


def _blocks() -> list[tuple[str, str]]:
    """(language, content) of the page's code; ``py`` stands in MMRec's own files and is not run."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def _run_line(line: str, command) -> None:
    words, _, file = line.partition(" > ")
    python, module_flag, module, *arguments = shlex.split(words, comments=True)
    assert (python, module_flag) == ("python", "-m"), line
    name = module.removeprefix("mde_fast.")
    if name == "train" and not {"--output", "--resume"} & set(arguments):
        # The default name ends with the second, in which several of such runs may begin.
        arguments += ["--output", f"runs/{len(list(Path().glob('runs/*')))}"]
    outcome = command(name, *arguments, *SHORTER.get(name, ()))
    assert outcome.status == 0, f"{line}: {outcome.err}"
    if file:
        Path(file).write_text(outcome.out)


def test_the_page_from_top_to_bottom(what_a_user_has, command):
    names = {}
    for language, content in _blocks():
        if language == "sh":
            for line in content.splitlines():
                _run_line(line, command)
        elif language == "yaml":
            Path(re.match(r"# ([\w.]+)", content)[1]).write_text(content)
        elif language == "python":
            exec(compile(content, f"coming_from_mmrec.md: {content[:40]!r}", "exec"), names)
    lines = Path("top20.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:2] == ["id", "top_0"] and len(lines) == 1 + 60
    assert len(pq.read_table("recommendations.parquet")) == 60 * 20
    assert names["own_ids"][2] == "SKU 10"
    assert len(names["results"]) == 4


def test_the_folder_made_from_a_table_has_the_same_result(what_a_user_has, command):
    sh, python = (next(content for kind, content in _blocks() if kind == wanted) for wanted in ("sh", "python"))
    exec(compile(python, "coming_from_mmrec.md", "exec"), {})
    folder = "python -m mde_fast.train --dataset shop"
    table = next(line for line in sh.splitlines() if "purchases.csv" in line)
    for number, line in enumerate((folder, table)):
        _run_line(f"{line} --epochs 3 --output runs/{number}", command)
    of_folder, of_table = (Path(f"runs/{number}/checkpoints/best.json").read_text() for number in (0, 1))
    assert yaml.safe_load(of_folder)["valid"] == yaml.safe_load(of_table)["valid"]


def _rows() -> list[tuple[str, str]]:
    """(YAML line, what becomes of it) for each key in the page's tables of keys."""
    heads = r"^\| (?:`overall\.yaml`|dataset file|model file) \| here \|\n\|[-|]+\|\n"
    tables = re.findall(heads + r"((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert len(tables) == 3
    cells = [row.strip("|").split(" | ") for table in tables for row in table.splitlines()]
    return [(line, here.strip()) for keys, here in cells for line in re.findall(r"`([^`]+)`", keys)]


@pytest.mark.parametrize("line, here", _rows())
def test_a_key(tmp_path, line, here):
    path = tmp_path / "mmrec.yaml"
    path.write_text(line)
    key = line.partition(":")[0]
    if here.startswith("refused"):
        with pytest.raises(InputError, match=f"unknown option {key}|{key} is an option of "):
            read_options(path, ("mde",))
        return
    file = read_options(path, ("mde",))
    if here.startswith("passed over"):
        assert file.options == {} and file.notes == [f"{path}: no meaning here, passed over: {key}"]
    elif here.startswith("names the grids"):
        assert file.options == {} and file.notes == []
    else:
        assert list(file.options) == re.findall(r"^`(\w+)`", here) and file.notes == []
