"""Launcher of Adam's native step."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call


def adam_step_native(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: Tensor,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    stream: int,
) -> None:
    call(
        "adam_step", ELEMENTS[parameter.dtype], parameter, gradient.contiguous(), first, second, step, learning_rate,
        beta1, beta2, eps, stream, parameter.numel(),
    )  # fmt: skip
