"""GPU path of Adam's step: a thread reads, steps, rounds and writes its numbers; nothing else is held."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_counted_bits import bits_key, counted_bits
from ..triton_support import accumulator, metrics_of
from . import work


@triton.jit
def rounded_by_chance(x, chance):
    """One of the two bfloat16 around a float32, ``chance`` (below 2**16) in 2**16 times the one away from 0."""
    bits = x.to(tl.uint32, bitcast=True)
    finite = (bits & 0x7F800000) != 0x7F800000
    return ((bits + tl.where(finite, chance, 0)) >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit(launch_metadata=metrics_of(work.adam_step))
def adam_step_kernel(
    parameter_ptr,  # (n,)
    gradient_ptr,  # (n,)
    first_ptr,  # (n,)
    second_ptr,  # (n,)
    step_ptr,  # () float32
    count,
    learning_rate: tl.float64,  # declared, or they would be rounded to float32
    beta1: tl.float64,
    beta2: tl.float64,
    eps: tl.float64,
    STREAM: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    numbers = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = numbers < count
    p = tl.load(parameter_ptr + numbers, mask=exists, other=0.0).to(ACC)
    g = tl.load(gradient_ptr + numbers, mask=exists, other=0.0).to(ACC)
    m = tl.load(first_ptr + numbers, mask=exists, other=0.0).to(ACC)
    v = tl.load(second_ptr + numbers, mask=exists, other=0.0).to(ACC)

    # Of one number, in float64: 1 - beta ** t is a small difference of numbers near 1.
    t = tl.load(step_ptr).to(tl.float64)
    keep1, keep2 = tl.full((), beta1, tl.float64), tl.full((), beta2, tl.float64)
    rate = (learning_rate / (1 - tl.exp(t * tl.log(keep1)))).to(ACC)
    root = tl.sqrt(1 - tl.exp(t * tl.log(keep2))).to(ACC)
    m = keep1.to(ACC) * m + (1 - keep1).to(ACC) * g
    v = keep2.to(ACC) * v + (1 - keep2).to(ACC) * g * g
    p -= rate * m / (tl.sqrt(v) / root + tl.full((), eps, ACC))

    tl.store(first_ptr + numbers, m.to(first_ptr.dtype.element_ty), mask=exists)
    if parameter_ptr.dtype.element_ty == tl.bfloat16:
        low, high = bits_key(t.to(tl.int64), STREAM)
        bits = counted_bits(numbers, low, high)
        bits ^= bits >> 14
        tl.store(second_ptr + numbers, rounded_by_chance(v, bits & 0xFFFF), mask=exists)
        tl.store(parameter_ptr + numbers, rounded_by_chance(p, bits >> 16), mask=exists)
    else:
        tl.store(second_ptr + numbers, v, mask=exists)
        tl.store(parameter_ptr + numbers, p, mask=exists)


def launch_sizes(dtype: torch.dtype) -> dict[str, int]:
    """Block sizes, a pure function: a thread has 16 bytes of each of the four tensors."""
    return {"BLOCK": 128 * 16 // dtype.itemsize, "num_warps": 4}


def adam_step_triton(
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
    count, sizes = parameter.numel(), launch_sizes(parameter.dtype)
    if count:
        adam_step_kernel[(triton.cdiv(count, sizes["BLOCK"]),)](
            parameter,
            gradient.contiguous(),
            first,
            second,
            step,
            count,
            learning_rate,
            beta1,
            beta2,
            eps,
            STREAM=stream,
            ACC=accumulator(parameter.dtype),
            **sizes,
        )
