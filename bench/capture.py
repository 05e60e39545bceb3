"""Calls recorded in a CUDA graph, so that a timer sees the device and not the Python that launches its kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

CALLS = 10  # in a graph at most: replaying costs the CPU some microseconds, shared by so many
WARM_UP = 3  # what libraries allocate and compile at first use must not be part of a graph
CAPTURED = "captured"
_unfinished: list[torch.cuda.CUDAGraph] = []  # the allocator may still ask one whose capture broke off


@dataclass(frozen=True)
class AsCalled:
    """A variant that is called one by one on a GPU as well; ``why`` is printed beside its time."""

    run: Callable[..., object]
    why: str

    def __call__(self, *arguments: Any) -> object:
        return self.run(*arguments)


def marked_as(run: Callable, call: Callable[[], object]) -> Callable[[], object]:
    """``call``, which calls the variant ``run``, as a variant of the same kind."""
    return AsCalled(call, run.why) if isinstance(run, AsCalled) else call


@dataclass(frozen=True)
class Launch:
    """What a timer calls instead of a variant.

    Attributes:
        run: launches ``calls`` calls of the variant.
        once: launches one call.
        how: ``captured``, ``called: `` or ``eager: `` (it could not be captured) and why; empty on a CPU.
    """

    run: Callable[[], object]
    calls: int = 1
    once: Callable[[], object] | None = None
    how: str = ""


class NotCaptured(RuntimeError):
    """A variant does what a CUDA graph cannot hold; the message is the library's reason."""


def launch(run: Callable[[], object], device: torch.device, calls: int, pool: Any) -> Launch:
    """``run`` as a CUDA graph, or as it is where it cannot be captured, saying so."""
    if isinstance(run, AsCalled):
        return Launch(run, 1, run, f"called: {run.why}")
    try:
        once = record(run, device, 1, pool)
        several = once if calls == 1 else record(run, device, calls, pool)
    except NotCaptured as error:
        return Launch(run, 1, run, f"eager: {error}")
    return Launch(several.replay, calls, once.replay, CAPTURED)


def record(run: Callable[[], object], device: torch.device, calls: int, pool: Any) -> torch.cuda.CUDAGraph:
    """A graph of so many calls; graphs of one pool share their memory and are never replayed at the same time.

    Raises:
        NotCaptured: a call cannot be recorded. The process can record others all the same.
    """
    current = torch.cuda.current_stream(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        side = torch.cuda.Stream(device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                run()
        current.wait_stream(side)
        try:
            # A capture that breaks off leaves its own stream the current one: the outer block restores it.
            with torch.cuda.stream(current), torch.cuda.graph(graph, pool=pool):
                for _ in range(calls):
                    run()
        except RuntimeError as error:
            _close(graph, device, pool)
            raise NotCaptured(_reason(error)) from error
    return graph


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: ending a broken capture fails as well."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _close(graph: torch.cuda.CUDAGraph, device: torch.device, pool: Any) -> None:
    """Have the allocator forget a capture that broke off, and see that the next one works."""
    try:
        graph.pool()
    except RuntimeError:  # its end was not reached
        _unfinished.append(graph)
        torch.cuda.memory._cuda_endAllocateToPool(device.index or 0, pool)
        torch.cuda.memory._cuda_releasePool(device.index or 0, pool)
    torch.cuda.synchronize(device)
    number = torch.zeros((), device=device)
    sound = torch.cuda.CUDAGraph()
    with torch.cuda.graph(sound):
        number.uniform_(1, 2)  # the state of random numbers takes part in captures: the next that ends puts it right
    sound.replay()
    if not 1 <= float(number) <= 2:
        raise AssertionError("after a capture that broke off this process's graphs compute something else")
