"""CPU path of dropout: the hash in wrapping int32, block by block in the cache, from counters to the result."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**15  # elements; counters, scratch and result of a block stay in a core's second-level cache

# The constants of the reference's mixers as signed numbers, which is how int64 and int32 have them.
WEYL = 0x9E3779B97F4A7C15 - 2**64
KEY_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
FACTORS = (0xED5AD4BB - 2**32, 0xAC4C1B51 - 2**32, 0x31848BAB)


def lowest_kept(share: float) -> int:
    """The least hash, as an int32, whose element stays."""
    return min(round(share * 2**32), 2**32 - 1) - 2**31


def dropout_apply_cpu(x: Tensor, seed: Tensor, rows: Tensor | None, share: float, stream: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    low, high = _key(seed, stream)
    scale, least = 1 / (1 - share), lowest_kept(share)
    values, results = x.view(-1), out.view(-1)
    for block, counters in _counters(x, rows):
        hashes = _mix_(counters, low, high)
        torch.mul(values[block], scale, out=results[block])
        results[block].masked_fill_(hashes < least, 0.0)
    return out


def _counters(x: Tensor, rows: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of x's elements, each with the numbers of its elements modulo 2**32; the numbers may be written over."""
    count = x.numel()
    if rows is None:
        steps = torch.arange(min(BLOCK, count), dtype=torch.int32, device=x.device)
        numbers = torch.empty_like(steps)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            # A block's start as an int32; the sum wraps round as it should.
            yield (
                slice(start, start + size),
                torch.add(steps[:size], (start + 2**31) % 2**32 - 2**31, out=numbers[:size]),
            )
        return
    width = count // max(len(rows), 1)
    if width == 0:
        return
    steps, per_block = torch.arange(width, dtype=torch.int32, device=x.device), max(1, BLOCK // width)
    first = (rows * width).to(torch.int32)  # keeps the low 32 bits
    for start in range(0, len(rows), per_block):
        numbers = first[start : start + per_block, None] + steps
        yield slice(start * width, start * width + numbers.numel()), numbers.view(-1)


def _key(seed: Tensor, stream: int) -> tuple[Tensor, Tensor]:
    """The two words of the key, int32 (); the device is not waited for."""
    key = splitmix64_rounds(seed.reshape(()) + _signed(0x9E3779B97F4A7C15 * (stream + 1)))
    key = key ^ ((key >> 31) & (2**33 - 1))
    return key.to(torch.int32), (key >> 32).to(torch.int32)


def splitmix64_rounds(key: Tensor) -> Tensor:
    """SplitMix64's two multiplications of int64 numbers, all of it but for its last shift."""
    key = (key ^ ((key >> 30) & (2**34 - 1))) * KEY_FACTORS[0]
    return (key ^ ((key >> 27) & (2**37 - 1))) * KEY_FACTORS[1]


def _signed(number: int) -> int:
    """A number's low 64 bits as an int64."""
    return (number + 2**63) % 2**64 - 2**63


def _mix_(numbers: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The hash of each number, in its place."""
    scratch = torch.empty_like(numbers)

    def fold(shift: int) -> None:
        """``numbers ^= numbers >> shift``, zeros coming in from the left."""
        torch.bitwise_right_shift(numbers, shift, out=scratch).bitwise_and_(2 ** (32 - shift) - 1)
        numbers.bitwise_xor_(scratch)

    numbers.bitwise_xor_(low)
    fold(17)
    numbers.mul_(FACTORS[0])
    fold(11)
    numbers.mul_(FACTORS[1]).add_(high)
    fold(15)
    return numbers.mul_(FACTORS[2])
