"""The native kernels: C++ compiled at installation, one library for each kind of processor, called with plain pointers.

They need no header of torch's and serve every Python and torch. A library is used only if it was compiled from the
sources that lie beside it. Their threads are those of torch: no OpenMP of their own is linked, and what they ask of one
is found in the library that torch has loaded.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from .native_sources import fingerprint

FOLDER = Path(__file__).resolve().parent
ELEMENTS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}  # what native.h's with_element takes


@torch.compiler.assume_constant_result
def variant() -> str:
    """The kind of processor that a library is named after, as torch sees it (``ATEN_CPU_CAPABILITY`` lowers it)."""
    capability = torch.backends.cpu.get_cpu_capability().lower()
    return capability if capability in ("avx512", "avx2") else "default"


@functools.cache
def _loaded() -> ctypes.CDLL | str:
    """The kernels for this processor, or why there are none and what to do."""
    file = FOLDER / f"_native_{variant()}.so"
    if not file.exists():
        return "native kernels were not compiled: install a C++ compiler, then mde_fast again"
    try:
        _share_openmp()
        kernels = ctypes.CDLL(str(file))
        kernels.mde_fast_sources.restype = ctypes.c_char_p
        compiled_from = kernels.mde_fast_sources().decode()
    except (OSError, AttributeError) as error:
        return f"{file.name} cannot be loaded: {error}"
    if (FOLDER / "native.h").exists() and compiled_from != fingerprint(FOLDER):
        return f"{file.name} was compiled from other sources: install mde_fast again"
    return kernels


def _share_openmp() -> None:
    """Make the functions of the OpenMP that torch has loaded visible to the kernels."""
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps if line.count(" ") > 4}
    for file in sorted(files):
        if Path(file).name.startswith(("libgomp", "libiomp5", "libomp")):
            ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)


@torch.compiler.assume_constant_result
def reason_unavailable() -> str | None:
    """Why no native kernels run here, in a line; None where they do."""
    loaded = _loaded()
    return loaded if isinstance(loaded, str) else None


def compiled_from() -> str:
    """The fingerprint of the sources that the kernels in use are of; an installed package has no sources itself."""
    loaded = _loaded()
    return "no native kernels" if isinstance(loaded, str) else loaded.mde_fast_sources().decode()


def call(name: str, *arguments: Tensor | int | float | None) -> None:
    """Run a kernel with as many threads as torch has.

    Args:
        name: of the function, without its prefix.
        arguments: what follows the number of threads: contiguous tensors, or None for one that is not given, and
            numbers.
    """
    getattr(_loaded(), f"mde_fast_{name}")(ctypes.c_int64(torch.get_num_threads()), *map(_as_c, arguments))


def within(ids: Tensor, table: Tensor) -> Tensor:
    """Rows of a table as the kernels take them, which do not look: int64.

    Raises:
        IndexError: one that is not there.
    """
    if ids.numel():
        low, high = (int(end) for end in torch.aminmax(ids))
        if low < 0 or high >= table.shape[0]:
            raise IndexError(f"row {low if low < 0 else high} of a table of {table.shape[0]}: index out of range")
    return ids.long()


def contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    """The tensors as :func:`call` takes them; one that is not given stays None."""
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _as_c(argument: Tensor | int | float | None):
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if argument is None:
        return ctypes.c_void_p(None)
    return ctypes.c_double(argument) if isinstance(argument, float) else ctypes.c_int64(argument)
