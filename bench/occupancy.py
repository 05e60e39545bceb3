"""How many programs of a kernel fit on a multiprocessor, from its compiled code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.data_sheets import Ceilings, resident_programs
from bench.launches import Source


def resident(sources: Iterable[Source], gpu: Ceilings, *, compiled: bool = True) -> dict[str, int]:
    """``repr`` of a source -> programs on a multiprocessor.

    Compiled ahead of time by what the tests of machine code use; where that is not wanted, or triton not installed,
    only the limit of warps and blocks is known.
    """
    unique = list({repr(source): source for source in sources}.values())
    if not compiled or importlib.util.find_spec("triton") is None:
        return {repr(source): resident_programs(gpu, source.num_warps) for source in unique}
    folder = str(Path(__file__).parents[1] / "tests" / "kernels")
    if folder not in sys.path:
        sys.path.append(folder)
    from aot import Request, compile_many  # pyright: ignore[reportMissingImports] - of the tests

    requests = [
        Request(each.kernel, each.signature, each.constants, gpu.target, each.num_warps, each.num_stages)
        for each in unique
    ]
    return {
        repr(source): resident_programs(gpu, source.num_warps, code.registers, code.shared)
        for source, code in zip(unique, compile_many(requests))
    }
