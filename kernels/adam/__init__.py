"""Adam's step on a parameter, which may be stored in bfloat16 with its moments: then chance decides how it rounds."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dispatch import use_reference
from .primitives import adam_step_
from .reference import adam_step_reference

__all__ = ["adam_step"]

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


@torch.no_grad()
def adam_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: Tensor,
    *,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    stream: int = 0,
) -> None:
    """One step of Adam (Kingma and Ba, ICLR 2015, algorithm 1), in place, in one pass over memory.

    Everything is computed in float32 (float64 for float64) from what is stored. Of bfloat16, an update is often less
    than half the distance to the next number that there is: rounded to the nearest it would be lost, step after step.
    So the parameter and the second moment become one of the two numbers around the result, the nearer one more often,
    so that the mean is the result (stochastic rounding; Zamirai et al., 2020). The first moment forgets its roundings
    within ten steps and is rounded to the nearest. Chance follows from the step, the stream and a number's place alone.

    Args:
        parameter: contiguous, float32, float64 or bfloat16; written.
        gradient: its gradient, of its shape and type.
        first, second: moments of its shape and type, contiguous, zeros before the first step; written.
        step: () float32 on the same device: which step this is, from 1.
        learning_rate, betas, eps: Adam's.
        stream: tells apart parameters that step together, 0 or more.

    Raises:
        ValueError: shapes, types, devices or numbers that do not go together.
    """
    _check(parameter, gradient, first, second, step)
    if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
        raise ValueError(f"betas={betas}: must be 0 or more, and below 1")
    if not 0 <= stream < 2**31:
        raise ValueError(f"stream={stream}: must be 0 or more, and below 2**31")
    if use_reference(parameter.device):
        state = adam_step_reference(parameter, gradient, first, second, step, learning_rate, betas, eps, stream)
        for stored, new in zip((parameter, first, second), state):
            stored.copy_(new)
        return
    rates = (float(number) for number in (learning_rate, *betas, eps))
    adam_step_(parameter, gradient, first, second, step, *rates, stream)
    if not torch.compiler.is_compiling():
        torch.autograd.graph.increment_version((parameter, first, second))  # kernels write past autograd


def _check(parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: Tensor) -> None:
    if parameter.dtype not in DTYPES:
        raise ValueError(f"parameter is {parameter.dtype}, expected float32, float64 or bfloat16")
    for name, tensor in {"gradient": gradient, "first": first, "second": second}.items():
        if (tensor.shape, tensor.dtype, tensor.device) != (parameter.shape, parameter.dtype, parameter.device):
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}, the parameter "
                f"{tuple(parameter.shape)} {parameter.dtype} on {parameter.device}"
            )
    for name, tensor in {"parameter": parameter, "first": first, "second": second}.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous; it is written in place")
    if step.shape != () or step.dtype != torch.float32 or step.device != parameter.device:
        raise ValueError(
            f"step is {tuple(step.shape)} {step.dtype} on {step.device}, expected () torch.float32 on "
            f"{parameter.device}"
        )
