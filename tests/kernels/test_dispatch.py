"""Which implementation runs."""

import logging

import pytest
import torch
from operands import SYMMETRIC_GRAPHS, random
from support import forced

from mde_fast.kernels import dispatch, native, propagate

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def fresh(monkeypatch, caplog):
    """Nothing chosen and nothing announced yet; gives the messages of the announcements."""
    for variable in ("MDE_FAST_IMPL", "TRITON_INTERPRET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(dispatch, "_announced", set())
    caplog.set_level(logging.INFO, logger="mde_fast.kernels")
    return lambda: [record for record in caplog.records if record.name == "mde_fast.kernels"]


@pytest.mark.parametrize("name", ("cuda", "Reference", " "))
def test_unknown_name(name):
    with forced(name), pytest.raises(ValueError, match=f"MDE_FAST_IMPL={name}.*reference, torch, native, triton"):
        dispatch.implementation(CPU)


def test_unknown_name_reaches_the_caller_of_an_operator():
    graph = SYMMETRIC_GRAPHS["small"]()
    with forced("fortran"), pytest.raises(ValueError, match="MDE_FAST_IMPL=fortran"):
        propagate(graph, random(12, 4))


@pytest.mark.parametrize("device", (CPU, GPU), ids=str)
@pytest.mark.parametrize("name", ("reference", "torch"))
def test_forced(fresh, name, device):
    with forced(name):
        assert dispatch.implementation(device) == name
        assert dispatch.use_reference(device) == (name == "reference")


def test_forced_triton(fresh, monkeypatch):
    monkeypatch.setattr(dispatch, "_triton_installed", True)
    with forced("triton"):
        assert dispatch.implementation(GPU) == "triton"
        with pytest.raises(RuntimeError, match="tensors are on cpu.*TRITON_INTERPRET=1"):
            dispatch.implementation(CPU)
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        assert dispatch.implementation(CPU) == "triton"
        monkeypatch.setattr(dispatch, "_triton_installed", False)
        with pytest.raises(RuntimeError, match="triton is not installed"):
            dispatch.implementation(GPU)


@pytest.mark.parametrize("empty", (False, True), ids=("unset", "empty"))
@pytest.mark.parametrize(
    "device, installed, name, level",
    (
        (CPU, True, "native", logging.INFO),
        (CPU, False, "native", logging.INFO),
        (GPU, True, "triton", logging.INFO),
        (GPU, False, "torch", logging.WARNING),
    ),
)
def test_default(fresh, monkeypatch, device, installed, name, level, empty):
    if empty:
        monkeypatch.setenv("MDE_FAST_IMPL", "")
    monkeypatch.setattr(dispatch, "_triton_installed", installed)
    monkeypatch.setattr(native, "reason_unavailable", lambda: None)
    assert dispatch.implementation(device) == name and not dispatch.use_reference(device)
    (record,) = fresh()
    assert f"'{name}'" in record.getMessage() and "MDE_FAST_IMPL" not in record.getMessage()
    assert record.levelno == level


def test_forced_native(monkeypatch):
    with forced("native"):
        with pytest.raises(RuntimeError, match="tensors are on cuda, native kernels run on a CPU"):
            dispatch.implementation(GPU)
        monkeypatch.setattr(native, "reason_unavailable", lambda: "nobody compiled them")
        with pytest.raises(RuntimeError, match="MDE_FAST_IMPL=native: nobody compiled them"):
            dispatch.implementation(CPU)


def test_without_native_kernels_the_log_says_why(fresh, monkeypatch):
    monkeypatch.setattr(native, "reason_unavailable", lambda: "nobody compiled them")
    assert dispatch.implementation(CPU) == "torch"
    (record,) = fresh()
    assert record.getMessage() == "operators on cpu run as 'torch' (nobody compiled them)"


def test_announces_each_choice_once(fresh):
    for name in ("torch", "reference", "torch", "reference"):
        with forced(name):
            dispatch.implementation(CPU)
    first, second = (record.getMessage() for record in fresh())
    assert "'torch'" in first and "'reference'" in second
    assert all("MDE_FAST_IMPL" in message for message in (first, second))
