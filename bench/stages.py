"""The stages of ``bench/on_gpu.sh``: what each runs, and for how long at most. Nothing here imports torch."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

PYTEST = (sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider")
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
EDGES_OF_CLOTHING = 400_000  # a synthetic graph of its size, for where its data are not at hand


@dataclass(frozen=True)
class Stage:
    """One process.

    Attributes:
        name: in the plan, the log and the file names.
        seconds: after which it is interrupted; what it had finished by then is kept.
        command: arguments; ``{json}`` stands for the stage's file of results.
        missing: why it cannot run here, empty if it can.
    """

    name: str
    seconds: int
    command: tuple[str, ...]
    missing: str = ""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def file_name(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def has_results(self) -> bool:
        return "{json}" in self.command


def plan(*, rehearsed: bool, data: Path | None) -> list[tuple[Stage, ...]]:
    """Groups of stages in their order; those of a group run side by side, which no timing does.

    ``rehearsed``: the same stages on a CPU, as small as they get, with kernels in Triton's interpreter.
    """
    return [
        _tests(rehearsed),
        *((_benchmark(*row, rehearsed=rehearsed, data=data),) for row in (_REHEARSED if rehearsed else _MEASURED)[:6]),
        tuple(_sanitizer(tool, rehearsed) for tool in SANITIZERS),
        *((_benchmark(*row, rehearsed=rehearsed, data=data),) for row in (_REHEARSED if rehearsed else _MEASURED)[6:]),
    ]


def longest(group: tuple[Stage, ...]) -> int:
    """Seconds that a group takes at most."""
    return max(stage.seconds for stage in group)


def _tests(rehearsed: bool) -> tuple[Stage, ...]:
    """Correctness. Most of it is compiling kernels, which workers share and leave in Triton's cache for what follows.

    Kernels compiled ahead elsewhere would not be found in it: its keys hash Triton's own library and sources, and the
    types and divisibility of a launch's very arguments.
    """
    step = ("tests/test_training_step.py", "tests/models", "tests/bench", "-k", "gpu or cuda or wait or bags")
    operators = ("tests/kernels", "-k", "triton and not machine_code")
    if rehearsed:
        step = ("tests/test_training_step.py", "tests/bench/test_timing.py")
        operators = ("tests/kernels/test_spmm.py", "-k", "triton and repeats")
    seconds = 600 if rehearsed else 120
    return (
        Stage("steps and timers", seconds, (*PYTEST, *_workers(4), *step)),
        Stage("operators' tests", seconds, (*PYTEST, *_workers(10), *operators)),
    )


def _workers(count: int) -> tuple[str, ...]:
    return ("-n", str(min(count, os.cpu_count() or 1)), "--dist", "worksteal")


def _sanitizer(tool: str, rehearsed: bool) -> Stage:
    """One test or a few of each operator, with rows long enough to be split; on a CPU the same without the tool."""
    tests = ("-x", "tests/kernels", "-k", "triton and (repeats or long_rows or many_triples or every_draw)")
    if rehearsed:
        return Stage(tool, 600, (*PYTEST, "-x", "tests/kernels/test_spmm.py", "-k", "triton and long_rows"))
    missing = "" if shutil.which("compute-sanitizer") else "compute-sanitizer is not installed"
    command = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *PYTEST, *tests)
    # Memory of its own for every tensor, so that a read beyond one is a read beyond what was allocated.
    return Stage(tool, 70, command, missing, (("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),))


# Name, seconds, files of bench/, options.
_MEASURED = (
    ("products", 75, ("products",), ("--dataset", "clothing", "--edges", str(EDGES_OF_CLOTHING))),
    ("model", 75, ("model",), ("--dataset", "clothing")),
    ("replayed step", 25, ("replayed_step",), ()),
    ("precisions", 35, ("precisions",), ()),
    ("launches of row_sum", 25, ("row_sum_launches",), ("--dataset", "", "--edges", f"{EDGES_OF_CLOTHING},10000000")),
    (
        "large products",
        45,
        ("products",),
        ("-k", "propagate", "--dataset", "", "--edges", "100000,1000000,10000000,100000000", "--no-compile"),
    ),
    ("operators", 50, ("operators",), ("--dataset", "clothing", "--compile-modes", "max-autotune-no-cudagraphs")),
    ("edges", 20, ("edges",), ("--dataset", "clothing", "--edges", str(EDGES_OF_CLOTHING), "--no-compile")),
    ("accelerate", 15, ("accelerate",), ("--dataset", "clothing", "--edges", str(EDGES_OF_CLOTHING))),
)
_FEW = ("--dataset", "", "--edges", "1000")
_REHEARSED = (
    ("products", 600, ("products",), ("--dataset", "clothing", "--edges", "1000", "--no-compile")),
    ("model", 600, ("model",), ("--dataset", "clothing", "--no-compile")),
    ("replayed step", 600, ("replayed_step",), ()),
    ("precisions", 600, ("precisions",), ("--epochs", "2")),
    ("launches of row_sum", 600, ("row_sum_launches",), ("--dataset", "", "--edges", "400", "--width", "16")),
    ("large products", 600, ("products",), (*_FEW, "-k", "propagate", "--no-compile")),
    ("operators", 600, ("operators",), ("--dataset", "tiny", "--no-compile")),
    ("edges", 600, ("edges",), (*_FEW, "--no-compile")),
    ("accelerate", 600, ("accelerate",), _FEW),
)


def _benchmark(
    name: str, seconds: int, files: tuple[str, ...], options: tuple[str, ...], *, rehearsed: bool, data: Path | None
) -> Stage:
    device, each = ("cpu", "0.01") if rehearsed else ("cuda", "1")
    command = [*PYTEST, *(f"bench/test_{file}.py" for file in files), "--device", device, "--seconds", each]
    command += [*options, "--benchmark-json", "{json}"]
    if data is not None:
        command += ["--data-dir", str(data)]
    return Stage(name, seconds, tuple(command))
