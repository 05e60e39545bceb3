"""Timing that can be compared: variants take turns, so that a machine's moods meet all of them alike."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds over the rounds of one variant."""

    median: float
    low: float
    high: float
    rounds: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


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
    """One round: ``repeat`` calls, on a GPU between events so that launching is counted only where it is the limit."""
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


def interleave(
    variants: dict[str, Callable[[], object]], device: torch.device, *, seconds: float = 2.0, min_rounds: int = 3
) -> dict[str, Timing]:
    """Time each variant in turn, A B C A B C ..., until each has had its share of about ``seconds``.

    A variant too slow for its share gets ``min_rounds`` all the same. Warm-up calls are not counted. Low and high are
    the quartiles.
    """
    share = 1e3 * seconds / len(variants)
    repeat = {}
    for name, run in variants.items():
        if milliseconds(run, device, 1) < share:
            run()
        synchronise(device)
        repeat[name] = max(1, min(100, int(2.0 / max(milliseconds(run, device, 1), 1e-3))))
    samples: dict[str, list[float]] = {name: [] for name in variants}
    waiting = list(variants)
    while waiting:
        for name in waiting:
            samples[name].append(milliseconds(variants[name], device, repeat[name]))
        waiting = [
            name for name in waiting if len(samples[name]) < min_rounds or sum(samples[name]) * repeat[name] < share
        ]
    result = {}
    for name, values in samples.items():
        low, _, high = statistics.quantiles(values, n=4)
        result[name] = Timing(statistics.median(values), low, high, len(values))
    return result


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


def gather_ceiling(device: torch.device, width: int, num_rows: int, num_edges: int) -> float:
    """GB/s at which rows of float32 can be read at random: the ceiling of a product with a graph.

    Measured with the library's fastest gather on as many rows and edges as the case has; only reads are counted.
    """
    table = torch.randn(num_rows, width, device=device)
    index = torch.randint(num_rows, (num_edges,), device=device)
    if device.type == "cuda":
        out = torch.empty(num_edges, width, device=device)
        timing = interleave({"gather": lambda: torch.index_select(table, 0, index, out=out)}, device, seconds=0.5)
    else:
        # The sum of pairs of rows writes half of what it reads and is generated code: nearer the ceiling than a copy.
        offsets = torch.arange(0, num_edges + 1, 64, device=device)
        bag = torch.nn.functional.embedding_bag
        timing = interleave(
            {"gather": lambda: bag(index, table, offsets, mode="sum", include_last_offset=True)}, device, seconds=0.5
        )
    return num_edges * width * 4 / timing["gather"].median / 1e6


def copy_ceiling(device: torch.device, num_bytes: int = 2**28) -> float:
    """GB/s of a large copy, reads and writes counted."""
    source = torch.empty(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    timing = interleave({"copy": lambda: target.copy_(source)}, device, seconds=0.5)
    return 2 * num_bytes / timing["copy"].median / 1e6
