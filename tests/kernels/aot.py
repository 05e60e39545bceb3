"""Compiles kernels to machine code for GPUs that are not there, and counts what they use.

A test process without a GPU runs kernels in Triton's interpreter, where nothing is compiled; so the work is done in a
process of its own, started at the first request and kept for the next ones. A test asks for its own kernels alone, so
that test processes side by side share the compilations of a session as they share its tests.
"""

from __future__ import annotations

import atexit
import importlib.util
import multiprocessing
import os
import re
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import pytest

NVIDIA = ("sm_80", "sm_90", "sm_100", "sm_120")
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")  # that each operator's own tests compile for

# How Triton writes the dtypes of tensors in a signature, for tests that go over them.
STORAGE = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Request:
    """One compilation.

    Attributes:
        kernel: ``module:name``, as in ``mde_fast.kernels.spmm.triton_kernels:row_sum_kernel``.
        signature: types of the arguments that are not constexpr by name: ``*fp32``, ``*i32``, ``i64``, ``fp32``, ...
            Pointers and integers are compiled as multiples of 16, as tensors of PyTorch's and usual sizes are.
        constexprs: values of all others; numbers, strings, or dtypes of ``triton.language``.
        target: one of NVIDIA, or gfx942.
    """

    kernel: str
    signature: dict[str, str]
    constexprs: dict[str, object]
    target: str
    num_warps: int = 4
    num_stages: int = 3


@dataclass(frozen=True)
class Compiled:
    """What a compiled kernel uses.

    Attributes:
        registers: of a thread; None for gfx942.
        local: bytes of a thread in local memory, which is where registers are spilled to; 0 for gfx942.
        shared: bytes of shared memory of a program.
        cubin, ptx: the machine code and what it was made from; empty for gfx942.
    """

    registers: int | None
    local: int
    shared: int
    cubin: bytes = field(default=b"", repr=False)
    ptx: str = field(default="", repr=False)

    @property
    def spills(self) -> bool:
        return self.local > 0

    @cached_property
    def listing(self) -> str | None:
        """The machine code as the disassembler prints it; None for a GPU that it does not know, and for gfx942."""
        return _cuda_tool("nvdisasm", self.cubin, "-c", "-ndf") if self.cubin else None

    @cached_property
    def loads(self) -> dict[int, int]:
        """Bits -> instructions that load as many from global memory into registers, or straight to shared memory.

        Raises:
            RuntimeError: the disassembler does not know the GPU.
        """
        opcodes = re.findall(r"\bLDG(?:STS)?(?:\.\w+)*", self._known_listing())
        widths = (re.search(r"\.[US]?(8|16|64|128)\b", opcode) for opcode in opcodes)
        return dict(sorted(Counter(32 if width is None else int(width[1]) for width in widths).items()))

    @cached_property
    def instructions(self) -> int:
        """Of the whole kernel, without the padding behind its end.

        Raises:
            RuntimeError: the disassembler does not know the GPU.
        """
        return len(re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?!\s|NOP\b)", self._known_listing(), re.MULTILINE))

    def _known_listing(self) -> str:
        if self.listing is None:
            raise RuntimeError("there is no listing of the machine code")
        return self.listing

    @cached_property
    def wide_loads(self) -> int:
        """Instructions that load 16 bytes from global memory, plain and straight to shared memory; 0 for gfx942.

        Disassembled where a test asks, for that takes nearly as long as to compile. They are counted in the PTX for a
        GPU that the disassembler does not know.
        """
        if self.listing is not None:
            return len(re.findall(r"\bLDG(?:STS)?\.\S*\b128\b", self.listing))
        straight = re.findall(r"\bld\.global\S*\.(?:v4\.[bfus]32|v2\.[bfus]64)", self.ptx)
        return len(straight) + len(re.findall(r"\bcp\.async\.c[ag]\S*[^;]*, (?:0x10|16)\b", self.ptx))

    @cached_property
    def wide_loads_in_flight(self) -> int:
        """The most 16-byte loads that a thread waits for at once, within a stretch of code without a label.

        A load is waited for until an instruction reads or overwrites one of the registers that it fills.

        Raises:
            RuntimeError: the disassembler does not know the GPU.
        """
        return _wide_loads_in_flight(self._known_listing())


def _wide_loads_in_flight(listing: str) -> int:
    """The figure of :attr:`Compiled.wide_loads_in_flight` from what nvdisasm prints."""
    most, pending = 0, []
    for line in listing.splitlines():
        if re.match(r"\.\w+:", line):
            pending = []
        instruction = re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*)", line)
        if instruction is None:
            continue
        opcode, operands = instruction.groups()
        touched = _registers(opcode, operands)
        pending = [load for load in pending if not load & touched]
        if re.match(r"LDG\.\S*\b128\b", opcode):
            pending.append(_registers(opcode, operands.partition(",")[0]))
        most = max(most, len(pending))
    return most


def _registers(opcode: str, operands: str) -> set[int]:
    """Numbers of the registers that an instruction reads or writes; rather too many where its width is unclear."""
    wide = re.search(r"128|64|WIDE|^CS2R|^D[A-Z]", opcode)
    width = 1 if wide is None else 4 if wide.group() == "128" else 2
    found: set[int] = set()
    for part in re.split(r"(\[[^]]*\])", operands):
        for number, suffix in re.findall(r"\bR(\d+)\b(\.64)?", part):
            # An address is of its own width, whatever is loaded from there.
            count = 2 if suffix else 1 if part.startswith("[") else width
            found.update(range(int(number), int(number) + count))
    return found


def compile_ahead(
    kernel: str,
    signature: dict[str, str],
    constexprs: dict[str, object],
    *,
    target: str,
    num_warps: int = 4,
    num_stages: int = 3,
) -> Compiled:
    """Compile one kernel."""
    return compile_many([Request(kernel, signature, constexprs, target, num_warps, num_stages)])[0]


_done: dict[str, Compiled] = {}


def compile_many(requests: list[Request]) -> list[Compiled]:
    """Compile kernels, each once in a test session however often it is asked for.

    Raises:
        RuntimeError: one does not compile; the cause names its line.
    """
    pytest.importorskip("triton")
    new = {repr(request): request for request in requests if repr(request) not in _done}
    _done.update(zip(new, _compilers().map(_compile, new.values())))
    return [_done[repr(request)] for request in requests]


@lru_cache(maxsize=1)
def _compilers() -> ProcessPoolExecutor:
    compilers = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_without_interpreter)
    atexit.register(compilers.shutdown)
    return compilers


# ---------------------------------------------------------------------------------------------------------------------
# In the process that compiles; triton is imported after the interpreter is off.


def _without_interpreter() -> None:
    os.environ.pop("TRITON_INTERPRET", None)
    # Its present default, said aloud because triton 3.9 warns about leaving it open.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # for debuggers; the instructions are the same without


def _compile(request: Request) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, _, name = request.kernel.partition(":")
    kernel = getattr(importlib.import_module(module), name)
    given = request.signature.keys() | request.constexprs.keys()
    if given != set(kernel.arg_names):
        missing, unknown = set(kernel.arg_names) - given, given - set(kernel.arg_names)
        raise TypeError(f"{request.kernel}: no value for {sorted(missing)}, no such argument as {sorted(unknown)}")
    types = {name: request.signature.get(name, "constexpr") for name in kernel.arg_names}
    aligned = {
        (place,): [["tt.divisibility", 16]] for place, kind in enumerate(types.values()) if re.match(r"\*|[iu]\d", kind)
    }
    source = ASTSource(kernel, types, request.constexprs, aligned)
    options = {"num_warps": request.num_warps, "num_stages": request.num_stages}
    is_nvidia = request.target in NVIDIA
    target = GPUTarget("cuda", int(request.target[3:]), 32) if is_nvidia else GPUTarget("hip", request.target, 64)
    try:
        compiled = triton.compile(source, target=target, options=options)
    except Exception as error:
        # Triton's own exceptions do not survive the way back to the test.
        raise RuntimeError(f"{request}: {type(error).__name__}: {error}") from None
    if not is_nvidia:
        return Compiled(registers=None, local=0, shared=compiled.metadata.shared)
    usage = _cuda_tool("cuobjdump", compiled.asm["cubin"], "-res-usage")
    if usage is None:
        raise RuntimeError(f"{request}: cuobjdump does not read it")
    used = {name: int(count) for name, count in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return Compiled(
        registers=used["REG"],
        local=used["STACK"] + used["LOCAL"],
        shared=compiled.metadata.shared,
        cubin=compiled.asm["cubin"],
        ptx=compiled.asm["ptx"],
    )


def _cuda_tool(name: str, cubin: bytes, *options) -> str | None:
    """What one of the CUDA programs that triton brings along prints about a kernel; None where it fails."""
    folder = Path(importlib.util.find_spec("triton").origin).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        result = subprocess.run([folder / name, *options, file.name], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else None
