"""Which implementation runs."""

import logging

import pytest
from support import SYMMETRIC_GRAPHS, forced, random

from mde_fast.kernels import dispatch, propagate


@pytest.fixture
def nothing_announced(monkeypatch):
    monkeypatch.setattr(dispatch, "_announced", set())


def _announcements(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "mde_fast.kernels"]


@pytest.mark.parametrize("name", ("cuda", "Reference", " "))
def test_unknown_name(name):
    with forced(name), pytest.raises(ValueError, match=f"MDE_FAST_IMPL={name}.*reference, torch"):
        dispatch.implementation()


def test_unknown_name_reaches_the_caller_of_an_operator():
    graph = SYMMETRIC_GRAPHS["small"]()
    with forced("fortran"), pytest.raises(ValueError, match="MDE_FAST_IMPL=fortran"):
        propagate(graph, random(12, 4))


@pytest.mark.parametrize("name", ("reference", "torch"))
def test_forced(name):
    with forced(name):
        assert dispatch.implementation() == name
        assert dispatch.use_reference() == (name == "reference")


@pytest.mark.parametrize("unset", ("", None))
def test_default(monkeypatch, unset):
    monkeypatch.delenv("MDE_FAST_IMPL", raising=False)
    if unset is not None:
        monkeypatch.setenv("MDE_FAST_IMPL", unset)
    assert dispatch.implementation() in dispatch.IMPLEMENTATIONS and not dispatch.use_reference()


def test_announces_once(nothing_announced, caplog):
    caplog.set_level(logging.INFO, logger="mde_fast.kernels")
    for name in ("torch", "reference", "torch", "reference"):
        with forced(name):
            dispatch.implementation()
    assert _announcements(caplog) == [f"operators run as '{name}' (MDE_FAST_IMPL)" for name in ("torch", "reference")]


def test_announces_the_default(nothing_announced, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="mde_fast.kernels")
    monkeypatch.delenv("MDE_FAST_IMPL", raising=False)
    for _ in range(3):
        name = dispatch.implementation()
    (message,) = _announcements(caplog)
    assert f"'{name}'" in message and "MDE_FAST_IMPL" not in message
