"""Random bits that follow from a seed and an element's number alone: PyTorch calls for what dropout's reference says.

The native kernels have them in ``counted_bits.h``, Triton's in ``triton_counted_bits.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The constants of the mixers as signed numbers, which is how int64 and int32 have them.
WEYL = 0x9E3779B97F4A7C15 - 2**64
KEY_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
FACTORS = (0xED5AD4BB - 2**32, 0xAC4C1B51 - 2**32, 0x31848BAB)


def key_of(seed: Tensor, stream: int) -> tuple[Tensor, Tensor]:
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


def mix_(numbers: Tensor, low: Tensor, high: Tensor) -> Tensor:
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
