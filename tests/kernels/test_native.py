"""The native kernels' libraries: which one is taken, when none is, and that every one computes the same."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from runpy import run_path

import pytest
import torch
from comparing import assert_close
from operands import GRAPHS, random
from safetensors.torch import load_file
from support import evaluate, forced

from mde_fast.kernels import bpr, cosine_losses, native, node_losses, normalize_rows, project_rows, spmm, topk
from mde_fast.kernels.native_sources import source_files
from mde_fast.kernels.topk.primitives import select

ROOT = Path(__file__).parents[2]
ARM64 = "aarch64-linux-gnu"  # how names of a cross compiler and its tools begin
LIBRARIES = sorted(native.FOLDER.glob("_native_*.so"))
CAPABILITIES = {"avx512": "avx512", "avx2": "avx2", "default": "default"}  # what ATEN_CPU_CAPABILITY calls them

needs_native = pytest.mark.skipif(native.reason_unavailable() is not None, reason=str(native.reason_unavailable()))


@pytest.fixture
def other_folder(tmp_path, monkeypatch):
    """A folder with copies of the sources and no library, looked at instead of the package's."""
    for file in source_files(native.FOLDER):
        target = tmp_path / file.relative_to(native.FOLDER)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(file, target)
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native._loaded.cache_clear()
    yield tmp_path
    native._loaded.cache_clear()


def test_none_compiled(other_folder):
    reason = native.reason_unavailable()
    assert reason is not None and "not compiled" in reason and "C++ compiler" in reason


@needs_native
def test_sources_changed_since(other_folder):
    shutil.copy(LIBRARIES[0].with_name(f"_native_{native.variant()}.so"), other_folder)
    assert native.reason_unavailable() is None
    native._loaded.cache_clear()
    with open(other_folder / "topk/native.cpp", "a") as source:
        source.write("// another thought\n")
    reason = native.reason_unavailable()
    assert reason is not None and "compiled from other sources: install mde_fast again" in reason


def test_no_library_at_all(other_folder):
    (other_folder / f"_native_{native.variant()}.so").write_text("no library")
    reason = native.reason_unavailable()
    assert reason is not None and "cannot be loaded" in reason


def _everything(implementation: str) -> dict[str, torch.Tensor]:
    """Results and gradients of the operators that have native kernels, at sizes that no vector divides."""
    graph, results = GRAPHS["large"](), {}
    users, positives, negatives = (torch.arange(300) * step % 40 for step in (7, 3, 11))
    cases = {
        "spmm": (partial(spmm, graph), {"x": random(graph.shape[1], 77, dtype=torch.float32)}),
        "normalize_rows": (lambda x: normalize_rows(x), {"x": random(700, 2, 77, dtype=torch.float32)}),
        "node_losses": (
            lambda h, logits: node_losses(h, preference_logits=logits, detach=False),
            {"h": random(1500, 3, 77, dtype=torch.float32), "logits": random(1500, 3, seed=1, dtype=torch.float32)},
        ),
        "bpr": (
            lambda h_users, h_items, logits: bpr(
                h_users, h_items, users, positives, negatives, user_logits=logits, fusion="sum"
            ),
            {
                "h_users": random(40, 2, 77, dtype=torch.float32),
                "h_items": random(40, 2, 77, seed=1, dtype=torch.float32),
                "logits": random(40, 2, seed=2, dtype=torch.float32),
            },
        ),
    }
    cases["cosine_losses"] = (
        partial(cosine_losses, rows=users, target_rows=positives, pairs=((0, 1), (1, 0), (1, 1))),
        {"x": random(40, 2, 77, dtype=torch.float32), "target": random(40, 2, 77, seed=1, dtype=torch.float32)},
    )
    for name, items in (("project_rows", users), ("project_rows of all", None)):
        cases[name] = (
            lambda features, weight, bias, items=items: project_rows(features, items, weight, bias),
            {
                "features": random(40, 1100, dtype=torch.float32),
                "weight": random(77, 1100, seed=1, dtype=torch.float32),
                "bias": random(77, seed=2, dtype=torch.float32),
            },
        )
    for name, (operator, tensors) in cases.items():
        for key, tensor in evaluate(implementation, operator, tensors).items():
            results[f"{name}, {key}"] = tensor
    with forced(implementation):
        vectors = random(90, 12, dtype=torch.float32), random(2500, 12, seed=1, dtype=torch.float32)
        results["topk"] = topk(*vectors, 20)[0]
    return results


@needs_native
@pytest.mark.parametrize("threads", (1, 3))
def test_bits_do_not_depend_on_the_number_of_threads(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = _everything("native")
        torch.set_num_threads(threads)
        actual = _everything("native")
    finally:
        torch.set_num_threads(before)
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


@needs_native
@pytest.mark.parametrize("file", LIBRARIES, ids=lambda file: file.stem)
def test_every_kind_of_processor(file, tmp_path):
    """A process that takes this library gets what the reference gives."""
    kind = file.stem.rpartition("_")[2]
    best = list(CAPABILITIES).index(native.variant())
    if list(CAPABILITIES).index(kind) < best:
        pytest.skip(f"this processor has no {kind}")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_native; from mde_fast.kernels import native; "
        "from safetensors.torch import save_file; "
        "assert native.variant() == sys.argv[2], native.variant(); "
        "save_file(test_native._everything('native'), sys.argv[3])"
    )
    result = tmp_path / "results.safetensors"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": CAPABILITIES[kind]}
    arguments = [str(Path(__file__).parent), kind, str(result)]
    subprocess.run([sys.executable, "-c", script, *arguments], env=environment, check=True, timeout=300)
    actual, expected = load_file(result), _everything("reference")
    for name in expected:
        assert_close(actual[name], expected[name], name)


@needs_native
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
@pytest.mark.parametrize("kind, register", (("avx2", "ymm"), ("avx512", "zmm")))
def test_machine_code_of_row_sum(kind, register):
    """Sums over edges are fused multiply-adds of whole vectors."""
    file = native.FOLDER / f"_native_{kind}.so"
    if not file.exists():
        pytest.skip(f"{file.name} is for another architecture")
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", file], capture_output=True, text=True, check=True)
    fused = [line for line in listing.stdout.splitlines() if "vfmadd" in line and "ps" in line and register in line]
    assert len(fused) > 50


@pytest.mark.skipif(shutil.which(f"{ARM64}-g++") is None, reason=f"{ARM64}-g++ is not installed")
def test_machine_code_for_arm64(tmp_path, monkeypatch):
    """As setup.py has it compiled there: one library, which reads and adds whole vectors of every element type."""
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("setuptools.setup", given.update)
    run_path("setup.py")
    (library,) = given["ext_modules"]
    assert library.name.endswith("_native_default")
    arguments = [*library.extra_compile_args, *(f"-D{name}={value}" for name, value in library.define_macros)]
    binary = tmp_path / "native.o"
    subprocess.run([f"{ARM64}-g++", "-fPIC", *arguments, "-c", *library.sources, "-o", binary], check=True, timeout=300)
    listing = subprocess.run([f"{ARM64}-objdump", "-d", binary], capture_output=True, text=True, check=True).stdout
    for instruction in (r"fmla\tv\d+\.4s", r"fmla\tv\d+\.2d", r"shll2?\tv\d+\.4s"):  # the last widens bfloat16
        assert len(re.findall(rf"\t{instruction}", listing)) > 50, instruction


@needs_native
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("k", (1, 20, 50, 300))
@pytest.mark.parametrize("kind", ("few values", "all equal", "hidden", "negative and zeros", "ascending", "NaN"))
def test_select_in_its_one_order(kind, k, dtype):
    """Against a stable sort, where ties, -inf and what is not a number are many or stand at bad places."""
    scores = random(9, 4001, seed=3, dtype=dtype)
    if kind == "few values":
        scores = (scores * 2).round()
    if kind == "all equal":
        scores = torch.full_like(scores, -0.25)
    if kind == "hidden":
        scores[:, 17:] = -torch.inf
    if kind == "negative and zeros":
        scores = -scores.abs().round() * torch.tensor([1.0, -1.0], dtype=dtype).repeat(2001)[:4001].sign()
        scores = scores.clamp(max=0)
    if kind == "ascending":
        scores = scores.sort(dim=1).values
    if kind == "NaN":
        scores[2, 3000] = scores[4, 0] = torch.nan
        scores[5, 7] = torch.inf
    expected, items = torch.sort(scores, dim=1, descending=True, stable=True)
    expected, items = expected[:, :k], items[:, :k].masked_fill(expected[:, :k] == -torch.inf, -1)
    with forced("native"):
        actual, ranked = select(scores, k)
    assert torch.equal(ranked, items)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@needs_native
def test_rows_that_are_not_there_are_refused():
    """The kernels read where they are told to."""
    h, ids, others = random(5, 2, 8, dtype=torch.float32), torch.tensor([0, 4]), torch.tensor([4, 0])
    with forced("native"):
        bpr(h, h, ids, others, ids)
        cosine_losses(h, h, rows=ids, target_rows=others)
        for wrong in (5, -1):
            bad = torch.tensor([0, wrong])
            for triple in ((bad, ids, ids), (ids, bad, ids), (ids, ids, bad)):
                with pytest.raises(IndexError, match=f"^row {wrong} of a table of 5: index out of range"):
                    bpr(h, h, *triple)
            for rows, target_rows in ((bad, ids), (ids, bad)):
                with pytest.raises(IndexError, match=f"^row {wrong} of a table of 5"):
                    cosine_losses(h, h, rows=rows, target_rows=target_rows)
