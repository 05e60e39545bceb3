"""Adam's step in PyTorch calls, in place, block by block so that its temporaries stay in the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from ..counted_bits import key_of, mix_
from ..support import accumulation_dtype

BLOCK = 2**15  # numbers


def adam_step_cpu(
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
    exact, rounded = accumulation_dtype(parameter.dtype), parameter.dtype == torch.bfloat16
    t = step.double()
    rate = (learning_rate / (1 - beta1**t)).to(exact)
    root = (1 - beta2**t).sqrt().to(exact)
    low, high = key_of(step.long(), stream)
    whole = [tensor.view(-1) for tensor in (parameter, gradient.contiguous(), first, second)]
    for start in range(0, parameter.numel(), BLOCK):
        p, g, m, v = (tensor[start : start + BLOCK] for tensor in whole)
        gradient_block = g.to(exact)
        new_first = m.to(exact).mul_(beta1).add_(gradient_block, alpha=1 - beta1)
        new_second = v.to(exact).mul_(beta2).addcmul_(gradient_block, gradient_block, value=1 - beta2)
        new = p.to(exact) - rate * new_first / (new_second.sqrt() / root + eps)
        m.copy_(new_first)
        if not rounded:
            v.copy_(new_second)
            p.copy_(new)
            continue
        numbers = torch.arange(start, start + p.numel(), device=p.device).to(torch.int32)  # keeps the low 32 bits
        bits = mix_(numbers, low, high)
        bits ^= (bits >> 14) & (2**18 - 1)
        v.copy_(_rounded_by_chance(new_second, bits & 0xFFFF))
        p.copy_(_rounded_by_chance(new, (bits >> 16) & 0xFFFF))


def _rounded_by_chance(x: Tensor, chance: Tensor) -> Tensor:
    """One of the two bfloat16 around each float32, as float32: ``chance`` in 2**16 times the one away from 0."""
    bits = x.view(torch.int32)
    return (torch.where(x.isfinite(), bits + chance, bits) & -(2**16)).view(torch.float32)
