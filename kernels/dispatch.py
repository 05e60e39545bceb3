"""Which implementation of an operator runs: one place decides, and says so once.

``MDE_FAST_IMPL`` forces a choice for every operator: ``reference`` (the frozen ground truth, slow), ``torch`` (PyTorch
calls with a backward of our own: the CPU path) or ``triton`` (the GPU kernels; on a CPU they need
``TRITON_INTERPRET=1``, which is for tests). A forced choice that cannot run raises. Unset, tensors on a GPU take
``triton``, all others ``torch``; where triton is not installed, ``torch`` runs on the GPU too and a warning says so.

``MDE_FAST_NVTX=1`` puts an NVTX range round every operator, for Nsight and other profilers; it needs the package nvtx.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

logger = logging.getLogger("mde_fast.kernels")

IMPLEMENTATIONS = ("reference", "torch", "triton")
_announced: set[tuple[str, str]] = set()
_triton_installed = importlib.util.find_spec("triton") is not None
_profiling = os.environ.get("MDE_FAST_NVTX") == "1"
if _profiling:
    import nvtx  # pyright: ignore[reportMissingImports] - of the extra "bench"


def implementation(device: torch.device) -> str:
    """Name of the implementation that operators run on a device.

    Raises:
        ValueError: ``MDE_FAST_IMPL`` names none that exists.
        RuntimeError: it names one that cannot run here.
    """
    chosen = os.environ.get("MDE_FAST_IMPL", "")
    if chosen:
        _require(chosen, device)
        name, reason = chosen, "MDE_FAST_IMPL"
    elif device.type != "cuda":
        name, reason = "torch", f"fastest on {device.type}"
    elif _triton_installed:
        name, reason = "triton", "fastest on cuda"
    else:
        name, reason = "torch", "triton is not installed: pip install triton"
    if not torch.compiler.is_compiling() and (name, device.type) not in _announced:
        _announced.add((name, device.type))
        level = logging.WARNING if name == "torch" and device.type == "cuda" and not chosen else logging.INFO
        logger.log(level, "operators on %s run as '%s' (%s)", device.type, name, reason)
    return name


def _require(chosen: str, device: torch.device) -> None:
    if chosen not in IMPLEMENTATIONS:
        raise ValueError(f"MDE_FAST_IMPL={chosen}: no such implementation, choose from {', '.join(IMPLEMENTATIONS)}")
    if chosen != "triton":
        return
    if not _triton_installed:
        raise RuntimeError("MDE_FAST_IMPL=triton: triton is not installed; pip install triton")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError(
            f"MDE_FAST_IMPL=triton: tensors are on {device.type}; move them to a GPU, or set TRITON_INTERPRET=1 to test"
        )


def use_reference(device: torch.device) -> bool:
    """Whether the frozen reference was asked for. Inside ``torch.compile`` it never runs."""
    return not torch.compiler.is_compiling() and implementation(device) == "reference"


_library = torch.library.Library("mde_fast", "DEF")


class Primitive:
    """One step of an operator, without autograd: a CPU function, a Triton launcher, and a registered operator.

    Called eagerly it goes straight to the implementation that :func:`implementation` picks. Inside ``torch.compile`` it
    is the registered ``torch.ops.mde_fast.<name>``, so graphs do not break and eager calls do not pay for it.
    """

    def __init__(
        self,
        schema: str,
        *,
        cpu: Callable,
        fake: Callable,
    ):
        """
        Args:
            schema: of the registered operator, ``name(...) -> ...``; its first Tensor argument decides the device.
            cpu: the implementation in PyTorch calls; it works on every device. Beside its module lies
                ``triton_kernels`` with the launcher ``<name>_triton``, imported at first use, and triton with it.
            fake: returns empty outputs of the right shape, for tracing.
        """
        self.name = schema.partition("(")[0]
        self._cpu = cpu
        self._launcher: Callable | None = None
        _library.define(schema)
        _library.impl(self.name, self._run, "CompositeExplicitAutograd")
        torch.library.register_fake(f"mde_fast::{self.name}", fake, lib=_library)
        self.registered = getattr(torch.ops.mde_fast, self.name).default

    def __call__(self, *arguments):
        if torch.compiler.is_compiling():
            return self.registered(*arguments)
        if _profiling:
            with nvtx.annotate(self.name, domain="mde_fast"):
                return self._run(*arguments)
        return self._run(*arguments)

    def _run(self, *arguments):
        device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
        if implementation(device) != "triton":
            return self._cpu(*arguments)
        launch = self._launcher
        if launch is None:
            kernels = importlib.import_module(".triton_kernels", self._cpu.__module__.rpartition(".")[0])
            launch = self._launcher = getattr(kernels, f"{self.name}_triton")
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):  # Triton launches on the current device
                return launch(*arguments)
        return launch(*arguments)
