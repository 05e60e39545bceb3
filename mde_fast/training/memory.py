"""How the C library treats the memory of a training step on the CPU, and when there is none left."""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from collections.abc import Callable

import torch

from .precision import product_times

logger = logging.getLogger("mde_fast")

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
NEVER = -1  # to hand memory back while a process lives


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed for the next step instead of handing it back to the system.

    A step frees and allocates the same tensors again and again. By default each of more than some megabytes is mapped
    anew every time, and touching its pages costs as much as the arithmetic done in it. The setting holds for the whole
    process, for blocks of every size in its main thread and of up to 32 MiB in others; :func:`release_freed_memory`
    gives back what is free. Until then the process may hold more than without it. Other C libraries have no such
    setting and are left alone.

    Returns:
        Whether it was set.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is None:
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, 64 * 2**20))
    done = all(mallopt(name, value) for name, value in settings)
    logger.debug("malloc keeps freed memory: %s", done)
    return done


def release_freed_memory() -> None:
    """Give the memory that is kept but free back to the system, as at the end of a training."""
    malloc_trim = _of_libc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def releases_memory(run: Callable) -> Callable:
    """A decorator: afterwards, when what it made is gone, :func:`release_freed_memory`."""

    @functools.wraps(run)
    def releasing(*arguments, **options):
        try:
            return run(*arguments, **options)
        finally:
            release_freed_memory()

    return releasing


def _of_libc(name: str):
    """A function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def out_of_memory_advice(error: BaseException) -> str:
    """What helps where :func:`is_out_of_memory`; bf16 products only where they are not slower."""
    on_gpu = isinstance(error, torch.OutOfMemoryError)
    times = None if on_gpu else product_times()
    advice = ["--device cpu"] if on_gpu else []
    advice += ["--precision bf16"] if times is None or times.bfloat16 <= times.float32 else []
    return ", ".join([*advice, "--storage bf16", "a smaller train_batch_size, embedding_size or projection_hidden"])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the CPU, has not enough memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # On a CPU PyTorch has no class of its own for it.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
