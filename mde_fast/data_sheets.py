"""What a GPU can do at most, as published.

Sources, by number:

1. NVIDIA H100 Tensor Core GPU data sheet, column H100 SXM; the figures with sparsity are halved.
2. NVIDIA H200 Tensor Core GPU data sheet, column H200 SXM: the same multiprocessors with other memory.
3. NVIDIA H100 Tensor Core GPU Architecture, white paper, 2022: 132 multiprocessors, 50 MB of L2 cache, 64 warps and 32
   blocks a multiprocessor, 65,536 registers, 228 KB of shared memory, of which a block's own 1 KB is taken.
4. Chips and Cheese, "Nvidia's H100: Funny L2, and Tons of Bandwidth", 2023, which tests the PCIe card. That gathers of
   rows reach 5.5 TB/s on the SXM cards is an assumption of the size of what they found.
5. Luo and others, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via Microbenchmarking", 2024
   (arXiv:2402.13499): a load from global memory takes about 480 cycles, of 1.755 GHz.
6. NVIDIA, "Getting Started with CUDA Graphs", 2019: kernels of 2.9 us launched one after another take 3.8 us each, and
   as a graph 3.4 us. Before a launch by itself 3.5 us are assumed, the time of such a call from Python's side at best;
   between two nodes of a graph 1.3 us, which adds to the blog's 0.5 us how a kernel's programs start and end.
7. The same data sheets: 80 GB and 141 GB of memory; NVLink 900 GB/s, of both directions together. Between machines 400
   Gbit/s for each GPU are assumed, as in NVIDIA's DGX H100 with a ConnectX-7 adapter for each GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

REACHED = 0.9  # of the data sheet's memory bandwidth, by copies of large tensors; an assumption


@dataclass(frozen=True)
class Ceilings:
    """Of a GPU; the digits behind each attribute are sources above.

    Attributes:
        memory: bytes a second of its memory (1, 2).
        cache, cache_bytes: bytes a second, and bytes, of its L2 cache (4, 3).
        operations: additions and multiplications a second, by arithmetic (1, 2).
        latency: seconds of a load that nothing shortens (5).
        gap: seconds between two kernels of a captured step (6).
        launch: seconds between two launches of a step that is not captured (6).
        multiprocessors, warps, blocks, registers, shared: how many there are, and what each holds (3).
        target: as Triton names its architecture.
        capacity: bytes of its memory (7).
        linked, apart: bytes a second that it sends to GPUs of its machine, and to those of others (7).
        on_a_machine: GPUs that are linked.
    """

    title: str
    memory: float
    cache: float = 5.5e12
    cache_bytes: float = 50 * 2**20
    operations: tuple[tuple[str, float], ...] = (
        *(("fp64", 34e12), ("fp32", 67e12), ("tf32", 989e12 / 2)),
        *(("bf16", 1979e12 / 2), ("fp16", 1979e12 / 2)),
    )
    latency: float = 480 / 1.755e9
    gap: float = 1.3e-6
    launch: float = 3.5e-6
    multiprocessors: int = 132
    warps: int = 64
    blocks: int = 32
    registers: int = 65_536
    shared: int = 228 * 1024
    target: str = "sm_90"
    capacity: float = 80e9
    linked: float = 450e9
    apart: float = 50e9
    on_a_machine: int = 8


GPUS = {
    "h100": Ceilings("NVIDIA H100 SXM", memory=3.35e12),
    "h200": Ceilings("NVIDIA H200 SXM", memory=4.8e12, capacity=141e9),
}
