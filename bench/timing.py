"""Timing that can be compared: variants take turns, so that a machine's moods meet all of them alike."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from bench.capture import CALLS, Launch, launch

FLUSH_BYTES = 2**28  # several times what the caches of any GPU hold
FLUSHED_CALLS = 20  # in a round at most, each after a fill


@dataclass(frozen=True)
class Timing:
    """Milliseconds over the rounds of one variant; ``how`` it was launched on a GPU, see :class:`Launch`."""

    median: float
    low: float
    high: float
    rounds: int
    how: str = ""

    def as_dict(self) -> dict[str, float | str]:
        return {name: value for name, value in vars(self).items() if value != ""}


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def synchronised(run: Callable, device: torch.device) -> Callable:
    """``run``, waiting for the device: for timers that know nothing of devices."""

    def call(*arguments):
        run(*arguments)
        synchronise(device)

    return call


def milliseconds(run: Callable[[], object], device: torch.device, repeat: int) -> float:
    """One round: ``repeat`` calls, on a GPU between events."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeat):
            run()
        end.record()
        torch.cuda.synchronize(device)
        return begin.elapsed_time(end) / repeat
    started = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - started) * 1e3 / repeat


def flushed_milliseconds(run: Callable[[], object], device: torch.device, repeat: int) -> float:
    """One round on a GPU whose caches hold nothing of the variant's: a large fill before each call is not counted.

    While the device fills, the CPU launches what comes next, so that launching is not counted either.
    """
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeat)]
    for begin, end in events:
        _filler(device).zero_()
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.fmean(begin.elapsed_time(end) for begin, end in events)


@lru_cache(maxsize=1)
def _filler(device: torch.device) -> Tensor:
    return torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)


def interleave(
    variants: Mapping[str, Callable[[], object]], device: torch.device, *, seconds: float = 2.0, min_rounds: int = 3
) -> dict[str, Timing]:
    """Time each variant in turn, A B C A B C ..., until each has had its share of about ``seconds``.

    A variant too slow for its share gets ``min_rounds`` all the same. Warm-up calls are not counted. Low and high are
    the quartiles. On a GPU a variant is recorded in a CUDA graph and replayed, so that Python is no part of its time;
    one that cannot be, or is an ``AsCalled``, is called, and its timing says so.
    """
    share = 1e3 * seconds / len(variants)
    return _in_turns(_launches(variants, device, share), device, share, min_rounds)


def interleave_hot_and_flushed(
    variants: Mapping[str, Callable[[], object]], device: torch.device, *, seconds: float = 2.0, min_rounds: int = 3
) -> tuple[dict[str, Timing], dict[str, Timing]]:
    """:func:`interleave` twice: as calls follow each other, and on a GPU with its caches flushed before each.

    In a training step other kernels have been there in between. On a CPU the second is empty.
    """
    share = 1e3 * seconds / len(variants)
    launches = _launches(variants, device, share)
    hot = _in_turns(launches, device, share, min_rounds)
    if device.type != "cuda":
        return hot, {}
    return hot, _in_turns(launches, device, share, min_rounds, flushed=True)


def _launches(variants: Mapping[str, Callable[[], object]], device: torch.device, share: float) -> dict[str, Launch]:
    """Every variant warmed up, and recorded where there are graphs."""
    launches = {}
    pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
    for name, run in variants.items():
        if milliseconds(run, device, 1) < share:
            run()
        synchronise(device)
        if device.type == "cuda":
            calls = max(1, min(CALLS, int(2.0 / max(milliseconds(run, device, 1), 1e-3))))
            launches[name] = launch(run, device, calls, pool)
        else:
            launches[name] = Launch(run)
    return launches


def _in_turns(
    launches: dict[str, Launch], device: torch.device, share: float, min_rounds: int, *, flushed: bool = False
) -> dict[str, Timing]:
    rounds = {name: _round(each, device, flushed) for name, each in launches.items()}
    samples: dict[str, list[float]] = {name: [] for name in launches}
    spent = dict.fromkeys(launches, 0.0)
    waiting = list(launches)
    while waiting:
        for name in waiting:
            started = time.perf_counter()
            samples[name].append(rounds[name]())
            spent[name] += (time.perf_counter() - started) * 1e3
        waiting = [name for name in waiting if len(samples[name]) < min_rounds or spent[name] < share]
    result = {}
    for name, values in samples.items():
        low, _, high = statistics.quantiles(values, n=4)
        result[name] = Timing(statistics.median(values), low, high, len(values), launches[name].how)
    return result


def _round(each: Launch, device: torch.device, flushed: bool) -> Callable[[], float]:
    """Milliseconds of a call over one round of about two milliseconds."""
    repeat = max(1, min(100, int(2.0 / max(milliseconds(each.run, device, 1), 1e-3))))
    if flushed:
        assert each.once is not None
        return partial(flushed_milliseconds, each.once, device, min(repeat * each.calls, FLUSHED_CALLS))
    return lambda: milliseconds(each.run, device, repeat) / each.calls


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Most memory that a call holds above what stood before it: activations, gradients, scratch."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
