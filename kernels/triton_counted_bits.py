"""Random bits that follow from a seed and an element's number alone, inside a Triton kernel."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def splitmix64(key):
    """The last steps of SplitMix64, of a uint64."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB
    return key ^ (key >> 31)


@triton.jit
def bits_key(seed, STREAM: tl.constexpr):
    """The two words, uint32, that an int64 seed and a stream become."""
    key = splitmix64(
        seed.to(tl.uint64, bitcast=True) + tl.full((), (STREAM + 1) * 0x9E3779B97F4A7C15 % 2**64, tl.uint64)
    )
    return key.to(tl.uint32), (key >> 32).to(tl.uint32)


@triton.jit
def counted_bits(numbers, low, high):
    """uint32 of each element's number (int64) and the words of :func:`bits_key`; the upper bits are the better half."""
    mixed = numbers.to(tl.uint32) ^ low
    mixed = (mixed ^ (mixed >> 17)) * 0xED5AD4BB
    mixed = (mixed ^ (mixed >> 11)) * 0xAC4C1B51
    mixed += high
    return (mixed ^ (mixed >> 15)) * 0x31848BAB
