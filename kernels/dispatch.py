"""Which implementation of an operator runs: one place decides, and says so once.

``MDE_FAST_IMPL`` forces a choice for every operator: ``reference`` (the frozen ground truth, slow) or ``torch`` (the CPU
path, PyTorch calls with a backward of our own). Unset, the fastest that can run is taken.
"""

from __future__ import annotations

import logging
import os

logger = logging.getLogger("mde_fast.kernels")

IMPLEMENTATIONS = ("reference", "torch")
_announced: set[str] = set()


def implementation() -> str:
    """Name of the implementation that operators run now.

    Raises:
        ValueError: ``MDE_FAST_IMPL`` names none that exists.
    """
    chosen = os.environ.get("MDE_FAST_IMPL", "")
    if chosen and chosen not in IMPLEMENTATIONS:
        raise ValueError(f"MDE_FAST_IMPL={chosen}: no such implementation, choose from {', '.join(IMPLEMENTATIONS)}")
    name = chosen or "torch"
    if name not in _announced:
        _announced.add(name)
        logger.info("operators run as '%s' (%s)", name, "MDE_FAST_IMPL" if chosen else "default")
    return name


def use_reference() -> bool:
    """Whether the frozen reference was asked for."""
    return implementation() == "reference"
