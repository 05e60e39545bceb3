"""No time is worth reporting for a wrong result: variants are held against ours before they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Variant = TypeVar("Variant", bound=Callable)


def agreeing(
    variants: dict[str, Variant], check: Callable[[str, Variant], None], device: torch.device
) -> tuple[dict[str, Variant], dict[str, str]]:
    """Variants that pass ``check``, and why others did not; the first is ours and has to pass.

    On a GPU an alternative that a library refuses there, or that is wrong, is left out and named, as long as one is
    left that agrees with us: the others' times are worth having. On a CPU it raises.
    """
    ours, *others = variants
    check(ours, variants[ours])
    left_out = {}
    for name in others:
        try:
            check(name, variants[name])
        except (RuntimeError, AssertionError) as error:
            if device.type == "cpu":
                raise
            left_out[name] = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if others and len(left_out) == len(others):
        raise AssertionError(f"nothing agrees with {ours}: {left_out}")
    return {name: run for name, run in variants.items() if name not in left_out}, left_out
