"""The rates that memory itself allows, measured on the machine at hand: random rows, and a large copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.timing import Timing, interleave, interleave_hot_and_flushed

# Of the kernel that only reads: rows in a bag, rows read at once, warps of a program. The fastest is the ceiling.
SHAPES = ((64, 8, 1), (128, 8, 1), (64, 16, 1), (64, 16, 2), (128, 16, 2), (128, 32, 4))


@dataclass(frozen=True)
class Ceiling:
    """GB/s at which rows of float32 can be read at random, and which way of reading did so.

    Attributes:
        gb_s: as calls follow each other, so that a small table stays in a cache.
        flushed_gb_s: on a GPU with its caches flushed before each call; None on a CPU.
    """

    gb_s: float
    way: str
    flushed_gb_s: float | None = None
    flushed_way: str = ""


def gather_ceiling(device: torch.device, width: int, num_rows: int, num_edges: int) -> Ceiling:
    """The ceiling of a product with a graph: as many rows and edges as the case has; only reads are counted."""
    table = torch.randn(num_rows, width, device=device)
    if device.type == "cuda":
        return _gather_ceiling_of_a_gpu(table, num_edges)
    index = torch.randint(num_rows, (num_edges,), device=device)
    # The sum of pairs of rows writes half of what it reads and is generated code: nearer the ceiling than a copy.
    offsets = torch.arange(0, num_edges + 1, 64, device=device)
    bag = torch.nn.functional.embedding_bag
    timing = interleave(
        {"gather": lambda: bag(index, table, offsets, mode="sum", include_last_offset=True)}, device, seconds=0.5
    )
    return Ceiling(num_edges * width * 4 / timing["gather"].median / 1e6, "embedding_bag")


def _gather_ceiling_of_a_gpu(table: torch.Tensor, num_edges: int) -> Ceiling:
    from bench.gather_kernel import sum_of_bags  # triton decides at its import whether it interprets

    largest = max(bag for bag, _, _ in SHAPES)
    edges = -(-num_edges // largest) * largest
    index = torch.randint(len(table), (edges,), device=table.device, dtype=torch.int32)
    ways = {
        f"bags of {bag}, {block} at once, {warps} warps": (
            lambda shape=(bag, block, warps): sum_of_bags(table, index, *shape)
        )
        for bag, block, warps in SHAPES
    }
    hot, flushed = (
        _fastest(timings, edges * table.shape[1] * 4)
        for timings in interleave_hot_and_flushed(ways, table.device, seconds=0.5)
    )
    return Ceiling(*hot, *flushed)


def _fastest(timings: dict[str, Timing], num_bytes: int) -> tuple[float, str]:
    """GB/s, and by which way."""
    name = min(timings, key=lambda name: timings[name].median)
    return num_bytes / timings[name].median / 1e6, name


def copy_ceiling(device: torch.device, num_bytes: int = 2**28) -> float:
    """GB/s of a large copy, reads and writes counted."""
    source = torch.empty(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    timing = interleave({"copy": lambda: target.copy_(source)}, device, seconds=0.5)
    return 2 * num_bytes / timing["copy"].median / 1e6
