"""Ground truth of dropout: an integer hash of seed, stream and element, in numbers of 0 or more."""

import torch
from torch import Tensor

LOW_32 = 2**32 - 1


def bits_reference(shape: torch.Size, seed: Tensor, stream: int, rows: Tensor | None = None) -> Tensor:
    """32 bits for each element, as numbers of 0 or more.

    Seed and stream become a key of two words (SplitMix64). An element's number in row-major order is mixed (triple32 of
    C. Wellons' hash-prospector without its last shift, which does not reach the upper bits), one word of the key going
    in before the first multiplication and one before the last.
    """
    key = _splitmix64(int(seed) + (stream + 1) * 0x9E3779B97F4A7C15)
    low, high = key & LOW_32, key >> 32
    width = shape[1:].numel()
    first = torch.arange(shape.numel() // max(width, 1)) if rows is None else rows.cpu()
    number = (first[:, None] * width + torch.arange(width)) & LOW_32
    mixed = number ^ low
    mixed = _times(mixed ^ (mixed >> 17), 0xED5AD4BB)
    mixed = _times(mixed ^ (mixed >> 11), 0xAC4C1B51)
    mixed = (mixed + high) & LOW_32
    mixed = _times(mixed ^ (mixed >> 15), 0x31848BAB)
    return mixed.view(shape)


def mask_reference(shape: torch.Size, seed: Tensor, stream: int, share: float, rows: Tensor | None) -> Tensor:
    """Which elements stay, a bool for each: the ``1 - share`` with the largest bits, read as signed numbers."""
    mixed = bits_reference(shape, seed, stream, rows)
    signed = torch.where(mixed < 2**31, mixed, mixed - 2**32)
    return (signed >= min(round(share * 2**32), LOW_32) - 2**31).to(seed.device)


def dropout_reference(x: Tensor, share: float, seed: Tensor, stream: int, rows: Tensor | None) -> Tensor:
    kept = mask_reference(x.shape if x.ndim else torch.Size((1,)), seed, stream, share, rows).view(x.shape)
    return torch.where(kept, x * (1 / (1 - share)), 0.0)


def _times(number: Tensor, factor: int) -> Tensor:
    """The low 32 bits of a product, whose own 64 may overflow: they are right all the same."""
    return (number * factor) & LOW_32


def _splitmix64(number: int) -> int:
    """The last steps of SplitMix64 (Steele, Lea and Flood, 2014)."""
    number = number % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)
