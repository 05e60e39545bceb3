"""Several processes train the model that one does, and their bits repeat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from launched import SECONDS, environment
from steps import CASES, batch_size, dataset_of, options_of

from mde_fast.plan.formulas import sent_per_step
from mde_fast.plan.layout import LAYOUTS, Sizes, layout_of

SCRIPT = Path(__file__).parent / "steps.py"
OF_FOUR = ("vbpr", "mde, three", "mde, infonce", "freedom")
AGAIN = ("vbpr", "mde", "freedom")
PLANNED = [name for name, (model, _, data) in CASES.items() if model in LAYOUTS and "rank" not in data]
ALLOWED = {"torch.float32": 1e-6, "torch.float64": 1e-12}


def results(folder: Path, processes: int, cases: tuple[str, ...]) -> list[dict]:
    """What each process saw of some cases."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, SCRIPT, folder, *cases]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"{processes}-{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict:
    return results(tmp_path_factory.mktemp("one"), 1, tuple(CASES))[0]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    return results(tmp_path_factory.mktemp("two"), 2, tuple(CASES))


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> list[dict]:
    return results(tmp_path_factory.mktemp("four"), 4, OF_FOUR)


def assert_as_one(one: dict, several: list[dict], name: str) -> None:
    for dtype, allowed in ALLOWED.items():
        expected, found = one[f"{name} {dtype}"], [each[f"{name} {dtype}"] for each in several]
        assert all(each["losses"] == found[0]["losses"] for each in found), "the processes' losses differ"
        assert len(found[0]["losses"]) == 20
        for step, (parts, parts_then) in enumerate(zip(found[0]["losses"], expected["losses"])):
            assert parts == pytest.approx(parts_then, rel=allowed, abs=0), f"step {step + 1}, {dtype}"
        for each in found:
            assert each["metrics"] == pytest.approx(expected["metrics"], rel=allowed), dtype


@pytest.mark.parametrize("name", CASES)
def test_two_are_as_one(one, two, name):
    assert_as_one(one, two, name)


@pytest.mark.parametrize("name", OF_FOUR)
def test_four_are_as_one(one, four, name):
    assert_as_one(one, four, name)


def test_bits_repeat(two, tmp_path):
    for first, again in zip(two, results(tmp_path, 2, AGAIN)):
        assert {name: first[name]["bits"] for name in again} == {name: each["bits"] for name, each in again.items()}


def test_losses_move(one):
    """What is compared above is no constant."""
    for name, seen in one.items():
        assert seen["losses"][0][0] != seen["losses"][-1][0], name


@pytest.mark.parametrize("name", PLANNED)
def test_bytes_are_those_of_the_plan(two, four, name):
    """Counted in a step of small runs, to the last byte."""
    dataset = dataset_of(name)
    widths = tuple(matrix.shape[1] for matrix in dataset.features.values())
    counts = dataset.num_users, dataset.num_items, len(dataset.train)
    sizes = Sizes(*counts, features=widths, batch=batch_size(dataset))
    layout = layout_of(CASES[name][0], options_of(name), sizes)
    for seen in (two[0], four[0]):
        for dtype, number in (("torch.float32", 4), ("torch.float64", 8)):
            if f"{name} {dtype}" in seen:
                parts = sent_per_step(layout, sizes, 2 if seen is two[0] else 4, number)
                assert seen[f"{name} {dtype}"]["sent"] == sum(parts.values())
