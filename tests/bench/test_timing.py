"""On a GPU the device is timed, and what cannot be captured says so; on a CPU calls are."""

import time

import pytest
import torch
from fake_gpu import LAUNCH, REPLAY, FakeGPU

from bench import timing
from bench.capture import AsCalled, NotCaptured, record
from bench.timing import Timing, interleave, interleave_hot_and_flushed

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    fake = FakeGPU().install(monkeypatch)

    class Filler:
        def zero_(self):
            fake.log.append("fill")

    monkeypatch.setattr(timing, "_filler", lambda device: Filler())
    monkeypatch.setattr("bench.capture._close", lambda graph, device, pool: None)  # needs a tensor on the device
    return fake


def test_a_replayed_variant_is_timed_without_its_launches(gpu):
    result = interleave({"one": gpu.kernel("one", 0.25)}, CUDA, seconds=0.01)["one"]
    assert result.how == "captured" and LAUNCH > 2  # too slow for a second call in a graph of two milliseconds
    assert result.median == pytest.approx(0.25 + REPLAY)


def test_many_short_calls_share_a_replay(gpu, monkeypatch):
    monkeypatch.setattr("fake_gpu.LAUNCH", 0.0)
    result = interleave({"one": gpu.kernel("one", 0.05)}, CUDA, seconds=0.01)["one"]
    assert result.median == pytest.approx(0.05 + REPLAY / 10)


def test_what_cannot_be_captured_is_called_and_says_why(gpu):
    variants = {
        "one": gpu.kernel("one", 1.0),
        "waits": gpu.unrecordable("waits", 2.0, "operation not permitted when stream is capturing"),
        "own": AsCalled(gpu.kernel("own", 3.0), "its own graphs"),
        "two": gpu.kernel("two", 4.0),
    }
    result = interleave(variants, CUDA, seconds=0.01)
    assert {name: each.how for name, each in result.items()} == {
        "one": "captured",
        "waits": "eager: operation not permitted when stream is capturing",
        "own": "called: its own graphs",
        "two": "captured",
    }
    assert result["waits"].median == pytest.approx(2.0 + LAUNCH)
    assert result["own"].median == pytest.approx(3.0 + LAUNCH)
    assert result["two"].median == pytest.approx(4.0 + REPLAY)
    assert result["waits"].as_dict()["how"].startswith("eager")


def test_caches_are_flushed_before_every_call_and_the_fill_is_not_counted(gpu):
    hot, flushed = interleave_hot_and_flushed({"one": gpu.kernel("one", 0.5)}, CUDA, seconds=0.01)
    assert hot["one"].median == flushed["one"].median == pytest.approx(0.5 + REPLAY)
    timed = gpu.log[gpu.log.index("fill") :]
    assert timed[0::2] == ["fill"] * (len(timed) // 2) and timed[1::2] == ["one"] * (len(timed) // 2)


def test_a_broken_capture_leaves_no_trace(monkeypatch):
    """The allocator is told, random numbers and the stream are as before, and the next capture works."""
    gpu = FakeGPU().install(monkeypatch)
    broken = gpu.unrecordable("waits", 1.0, "not permitted")
    with pytest.raises(NotCaptured, match="^not permitted$"):
        record(broken, CPU, 2, "the pool")
    assert gpu.closed_pools == ["the pool", "the pool"] and gpu.stream == "default"
    before = len(gpu.log)
    record(gpu.kernel("one", 1.0), CPU, 2, "the pool").replay()
    assert gpu.log[before:] == ["one"] * 5  # three to warm up


def test_other_errors_than_the_devices_are_not_taken_for_a_reason(gpu):
    def wrong():
        if gpu.capturing is not None:
            raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        interleave({"wrong": wrong}, CUDA, seconds=0.01)


def test_on_a_cpu_calls_are_timed_as_they_are():
    def wait():
        time.sleep(0.002)

    hot, flushed = interleave_hot_and_flushed({"one": wait, "two": AsCalled(wait, "why")}, CPU, seconds=0.05)
    assert not flushed
    for each in hot.values():
        assert 2 <= each.low <= each.median <= each.high and each.rounds >= 3
        assert each.as_dict().keys() == {"median", "low", "high", "rounds"}


def test_a_timing_without_a_device_is_written_as_before():
    assert Timing(1.0, 0.5, 2.0, 7).as_dict() == {"median": 1.0, "low": 0.5, "high": 2.0, "rounds": 7}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    """What waits for the device is called, and neighbours are captured before and after it, gradients included."""
    x = torch.randn(1000, 64, device="cuda", requires_grad=True)
    variants = {
        "first": lambda: torch.autograd.grad(x.square().sum(), x),
        "waits": lambda: x.sum().item(),
        "random": lambda: torch.randn(1000, device="cuda"),
        "last": lambda: torch.autograd.grad(x.square().sum(), x),
    }
    hot, flushed = interleave_hot_and_flushed(variants, torch.device("cuda"), seconds=0.4)
    for timings in (hot, flushed):
        assert {name: each.how.partition(":")[0] for name, each in timings.items()} == {
            "first": "captured",
            "waits": "eager",
            "random": "captured",
            "last": "captured",
        }
    assert torch.randn(3, device="cuda").isfinite().all()
