"""Ground truth of Adam's step: the equations, and the rounding of what is stored in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dropout.reference import bits_reference
from ..support import accumulation_dtype


def adam_step_reference(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: Tensor,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    stream: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """What parameter and moments become, in their type; nothing is written.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p = p - lr m' / (sqrt(v') + eps) with m' = m / (1 - b1^t) and
    v' = v / (1 - b2^t) (Kingma and Ba, ICLR 2015, algorithm 1), in float32 or, of float64, in float64.
    """
    stored, exact = parameter.dtype, accumulation_dtype(parameter.dtype)
    g, m, v, p = (tensor.to(exact) for tensor in (gradient, first, second, parameter))
    t, (beta1, beta2) = float(step), betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g.square()
    p = p - learning_rate / (1 - beta1**t) * m / ((v / (1 - beta2**t)).sqrt() + eps)
    if stored != torch.bfloat16:
        return p, m, v
    bits = bits_reference(p.shape, torch.tensor(int(t)), stream).to(p.device)
    bits = bits ^ (bits >> 14)
    return rounded_reference(p, bits >> 16), m.bfloat16(), rounded_reference(v, bits & 0xFFFF)


def rounded_reference(x: Tensor, chance: Tensor) -> Tensor:
    """One of the two bfloat16 around each float32: ``chance`` (below 2**16) in 2**16 times the one away from 0."""
    bits = x.view(torch.int32).long()
    moved = torch.where(x.isfinite(), bits + chance, bits)
    return (moved >> 16 << 16).to(torch.int32).view(torch.float32).bfloat16()
