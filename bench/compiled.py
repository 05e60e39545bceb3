"""``torch.compile`` of a reference, as strong as it gets on a device."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from bench.capture import AsCalled

# On a GPU: tuned code, which our timer captures as it captures ours; and torch.compile's own CUDA graphs.
TUNED, OWN_GRAPHS = "max-autotune-no-cudagraphs", "reduce-overhead"
MODES = (TUNED, OWN_GRAPHS)


def compiled_variants(
    name: str, reference: Callable, device: torch.device, modes: Collection[str]
) -> dict[str, Callable[..., Any]]:
    """Variants by name: the default mode on a CPU, each of ``modes`` on a GPU; none without modes."""
    if not modes:
        return {}
    if device.type == "cpu":
        return {name: torch.compile(reference)}
    # A function that was compiled for other sizes before would now be compiled for any, which is slower.
    torch.compiler.reset()
    return {f"{name}, {mode}": _compiled(reference, mode) for mode in modes}


def _compiled(reference: Callable, mode: str) -> Callable[..., Any]:
    run = torch.compile(reference, mode=mode, dynamic=False)
    if mode != OWN_GRAPHS:
        return run

    def next_iteration(*arguments):
        torch.compiler.cudagraph_mark_step_begin()  # what the last call returned may be overwritten
        return run(*arguments)

    return AsCalled(next_iteration, "CUDA graphs of torch.compile's own")
