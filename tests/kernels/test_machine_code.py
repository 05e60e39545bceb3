"""The machine code of every kernel is what it was: registers, local and shared memory, loads and their widths."""

import json
import os

import pytest
from machine_code import FILE, SPILLED, measured, requests

triton = pytest.importorskip("triton")
KEPT = json.loads(FILE.read_text(encoding="utf-8"))
KERNELS = KEPT["kernels"]
EVERY = 24  # one of so many is compiled anew, and all of them where MDE_FAST_MACHINE_CODE=all asks for it


@pytest.fixture(scope="module")
def wanted():
    return requests()


def test_all_kernels_are_kept(wanted):
    """``python tests/kernels/machine_code.py`` writes the file anew."""
    assert list(KERNELS) == list(wanted)


def test_nothing_is_spilled_without_a_reason():
    assert {name for name, row in KERNELS.items() if row["local"]} == SPILLED.keys()


@pytest.mark.parametrize("name", [name for name in KERNELS if "row_sum" in name and " fp32 " in name])
def test_sums_over_edges_have_eight_rows_in_flight(name):
    assert KERNELS[name]["in_flight"] >= 8


@pytest.mark.parametrize("name", [name for name, row in KERNELS.items() if row["warps"] == 1 and "spmm." in name])
def test_registers_leave_room_for_half_of_the_threads(name):
    """24 warps on a multiprocessor, whose 65,536 registers are given out 256 at a time to a warp."""
    assert 65_536 // (-(-KERNELS[name]["registers"] * 32 // 256) * 256) >= 24


def test_machine_code(wanted):
    """A difference is a decision: it stands in the file's differences, or is mended."""
    names = list(KERNELS)[:: 1 if os.environ.get("MDE_FAST_MACHINE_CODE") == "all" else EVERY]
    found = measured({name: wanted[name] for name in names})
    if triton.__version__ != KEPT["triton"]:
        spilled = [name for name, row in found.items() if row["local"] > KERNELS[name]["local"]]
        assert not spilled, f"spilled by triton {triton.__version__}, not by {KEPT['triton']}"
        pytest.skip(f"the kept figures are of triton {KEPT['triton']}: {triton.__version__} compiles otherwise")
    assert found == {name: KERNELS[name] for name in names}
