"""What is faster is measured once, kept for this machine alone, and decides only where it is clear."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from operands import random
from support import evaluate, forced

from mde_fast.kernels import dispatch, measured, native, normalize_rows
from mde_fast.kernels.normalize_rows import primitives

LARGE = (2**10, 2**7)  # measured from so many numbers on


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache of its own and a process that has asked nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MDE_FAST_IMPL", raising=False)
    monkeypatch.setattr(measured, "_answers", {})
    for primitive in (primitives.normalize_rows_forward, primitives.normalize_rows_backward):
        monkeypatch.setattr(primitive, "_fastest", {})
    return tmp_path / "mde_fast" / measured.FILE


def _counted(calls, name):
    return lambda: calls.append(name)


def test_asked_once_per_machine(fresh, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mde_fast.kernels")
    calls = []
    variants = {name: _counted(calls, name) for name in ("one", "other")}
    times = measured.milliseconds("a question", variants)
    assert calls == ["one", "other"] * (1 + measured.REPEATS) and set(times) == set(variants)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("measured once on this machine: a question: one ")
    monkeypatch.setattr(measured, "_answers", {})  # another process
    assert measured.milliseconds("a question", variants) == times and len(calls) == 2 * (1 + measured.REPEATS)
    assert measured.answered() == {"a question": times}


@pytest.mark.parametrize("changed", ("threads", "processor", "limit", "variants"))
def test_asked_again_elsewhere(fresh, monkeypatch, changed):
    calls = []
    variants = {name: _counted(calls, name) for name in ("one", "other")}
    measured.milliseconds("a question", variants)
    calls.clear()
    if changed == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    if changed == "processor":
        monkeypatch.setattr(measured, "processor", lambda: "another one")
    if changed == "limit":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    if changed == "variants":
        variants["third"] = _counted(calls, "third")
        monkeypatch.setattr(measured, "_answers", {})
    measured.milliseconds("a question", variants)
    assert calls


@pytest.mark.parametrize("content", ("", "[]", '{"answers": {"key": 3}}', '{"answers": {"key": {"one": "soon"}}}'))
def test_a_damaged_file_is_made_anew(fresh, caplog, content):
    fresh.parent.mkdir()
    fresh.write_text(content)
    measured.milliseconds("a question", {"one": lambda: None})
    assert f"{fresh} cannot be read and is made anew" in caplog.text
    assert len(json.loads(fresh.read_text())["answers"]) == 1


def test_an_installed_package_has_no_sources(fresh, monkeypatch, tmp_path):
    expected = measured.machine()
    monkeypatch.setattr(native, "FOLDER", tmp_path / "nothing here")
    assert measured.machine() == expected


@pytest.mark.parametrize(
    "lines, name",
    (
        ("model name\t: AMD EPYC 9R14\ncpu MHz\t\t: 2600.0\n", "AMD EPYC 9R14"),
        ("BogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "arm64 0x41 0xd40"),
    ),
    ids=("x86-64", "arm64"),
)
def test_kinds_of_processor_are_told_apart(monkeypatch, tmp_path, lines, name):
    monkeypatch.setattr(measured, "CPUINFO", tmp_path / "cpuinfo")
    measured.CPUINFO.write_text(lines)
    assert measured.processor.__wrapped__() == name


def test_no_file_can_be_kept(fresh, monkeypatch):
    fresh.parent.write_text("a file in the folder's place")
    calls = []
    for _ in range(2):
        measured.milliseconds("a question", {"one": _counted(calls, "one")})
    assert len(calls) == 1 + measured.REPEATS


@pytest.mark.skipif(native.reason_unavailable() is not None, reason=str(native.reason_unavailable()))
@pytest.mark.parametrize("slower_by, runs", ((0.5, "native"), (1.1, "native"), (3.0, "torch")))
def test_an_operator_departs_only_where_it_is_clear(fresh, monkeypatch, slower_by, runs):
    questions = []

    def answer(question, variants):
        questions.append(question)
        return measured._answers.setdefault(f"{measured.machine()} | {question}", {"native": slower_by, "torch": 1.0})

    monkeypatch.setattr(dispatch, "milliseconds", answer)
    called = []
    kernel, calls = primitives.normalize_rows_forward._launcher("native"), primitives.normalize_rows_forward._cpu
    monkeypatch.setitem(
        primitives.normalize_rows_forward._launchers, "native", lambda *a: (called.append("native"), kernel(*a))[1]
    )
    monkeypatch.setattr(primitives.normalize_rows_forward, "_cpu", lambda *a: (called.append("torch"), calls(*a))[1])
    for size in (LARGE, LARGE, (2, 3)):
        normalize_rows(random(*size, dtype=torch.float32))
    assert called == [runs, runs, "native"]
    assert questions == ["normalize_rows_forward of 2^17 numbers in float32"]  # once
    cpu = torch.device("cpu")
    assert dispatch.implementation_in_full(cpu) == f"native, {native.variant()}"
    assert dispatch.winners(cpu)["normalize_rows_forward of 2^17 numbers in float32"] == runs
    with forced("native"):
        assert not dispatch.winners(cpu)
        normalize_rows(random(*LARGE, dtype=torch.float32))
    assert called[-1] == "native" and len(questions) == 1


@pytest.mark.skipif(native.reason_unavailable() is not None, reason=str(native.reason_unavailable()))
@pytest.mark.parametrize("slower_by, runs", ((0.9, "native"), (0.98, "torch"), (1.1, "torch")))
def test_a_librarys_product_keeps_its_place_between_equals(fresh, slower_by, runs):
    question = "project_rows_forward of 2^20 numbers in float32"
    measured._answers[f"{measured.machine()} | {question}"] = {"native": slower_by, "torch": 1.0}
    assert dispatch.winners(torch.device("cpu"))[question] == runs


@pytest.mark.parametrize("name", ("torch", "reference"))
def test_preferred_over_the_environment(fresh, name):
    try:
        dispatch.prefer(name)
        with forced("native"):
            assert dispatch.implementation(torch.device("cpu")) == name
    finally:
        dispatch.prefer(None)


def test_both_ways_give_the_same_numbers_after_a_real_measurement(fresh):
    tensors = {"x": random(*LARGE, dtype=torch.float32)}
    chosen, expected = (evaluate(kind, lambda x: normalize_rows(x), tensors) for kind in ("", "reference"))
    for name in expected:
        torch.testing.assert_close(chosen[name], expected[name], rtol=1e-5, atol=1e-6)
    if native.reason_unavailable() is None:
        assert len(measured.answered()) == 2  # forward and backward


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the processes of Linux")
def test_processes_side_by_side_keep_each_others_answers(fresh):
    script = (
        "import sys; from mde_fast.kernels import measured; "
        "[measured.milliseconds(f'{sys.argv[1]} {n}', {'one': lambda: None}) for n in range(3)]"
    )
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", script, name], check=True, timeout=120)
    assert len(json.loads(fresh.read_text())["answers"]) == 6
