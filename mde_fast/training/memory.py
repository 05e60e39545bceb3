"""How the C library treats the memory of a training step on the CPU, and when there is none left."""

from __future__ import annotations

import ctypes
import logging
import sys

import torch

logger = logging.getLogger("mde_fast")

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_THRESHOLD = 32 * 2**20  # glibc refuses a larger one


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed for the next step instead of handing it back to the system.

    A step frees and allocates the same tensors again and again. By default each of more than some megabytes is mapped
    anew every time, and touching its pages costs as much as the arithmetic done in it. The setting holds for the whole
    process. Other C libraries have no such setting and are left alone.

    Returns:
        Whether it was set.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST_THRESHOLD), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    done = all(mallopt(name, value) for name, value in settings)
    logger.debug("malloc keeps freed memory: %s", done)
    return done


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the CPU, has not enough memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # On a CPU PyTorch has no class of its own for it.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
