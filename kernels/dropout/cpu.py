"""CPU path of dropout: the hash in wrapping int32, block by block in the cache, from counters to the result."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..counted_bits import key_of, mix_

BLOCK = 2**15  # elements; counters, scratch and result of a block stay in a core's second-level cache


def lowest_kept(share: float) -> int:
    """The least hash, as an int32, whose element stays."""
    return min(round(share * 2**32), 2**32 - 1) - 2**31


def dropout_apply_cpu(x: Tensor, seed: Tensor, rows: Tensor | None, share: float, stream: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    low, high = key_of(seed, stream)
    scale, least = 1 / (1 - share), lowest_kept(share)
    values, results = x.view(-1), out.view(-1)
    for block, counters in _counters(x, rows):
        hashes = mix_(counters, low, high)
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
