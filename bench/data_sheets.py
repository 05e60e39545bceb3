"""How long a launch takes under the ceilings of a GPU, which :mod:`mde_fast.data_sheets` has with their sources."""

from __future__ import annotations

from dataclasses import dataclass

from mde_fast.data_sheets import GPUS, REACHED, Ceilings
from mde_fast.kernels.work import Work

__all__ = ["GPUS", "Ceilings", "Prediction", "predict", "resident_programs"]


def resident_programs(gpu: Ceilings, num_warps: int, registers: int | None = None, shared: int = 0) -> int:
    """How many programs of a kernel a multiprocessor holds at a time; a warp's registers come 256 at a time."""
    most = min(gpu.blocks, gpu.warps // num_warps, gpu.shared // (shared + 1024))
    if registers:
        of_a_warp = -(-registers * 32 // 256) * 256
        most = min(most, gpu.registers // of_a_warp // num_warps)
    return max(most, 1)


@dataclass(frozen=True)
class Prediction:
    """Seconds of one launch, and which ceiling they come from.

    Attributes:
        memory: bytes that pass the memory; ``seconds`` is without the gap before the launch.
    """

    seconds: float
    bound: str
    memory: float


def predict(work: Work, gpu: Ceilings, *, programs: int | None = None, resident: int = 1) -> Prediction:
    """How long a launch takes if nothing but its highest ceiling holds it back.

    Rows that are gathered again come from the cache as far as their table fits there. Programs beyond those that are
    resident wait for a place: each takes its chain of loads one after the other.
    """
    missed = max(0.0, 1 - gpu.cache_bytes / work.table) if work.table else 0.0
    memory = work.streamed + work.table + (work.gathered - work.table) * missed
    rounds = 1.0 if programs is None else max(1.0, programs / (gpu.multiprocessors * resident))
    times = {
        "memory": memory / (REACHED * gpu.memory),
        "cache": work.bytes / gpu.cache,
        "operations": work.operations / dict(gpu.operations)[work.arithmetic],
        "occupancy" if rounds > 1 else "latency": rounds * work.chain * gpu.latency,
    }
    bound = max(times, key=lambda name: times[name])
    return Prediction(times[bound], bound if times[bound] > gpu.gap else "launch", memory)
