"""Which implementation of an operator runs: one place decides, and says so once.

``MDE_FAST_IMPL`` forces a choice for every operator: ``reference`` (the frozen ground truth, slow), ``torch`` (PyTorch
calls with a backward of our own), ``native`` (the CPU kernels) or ``triton`` (the GPU kernels; on a CPU they need
``TRITON_INTERPRET=1``, which is for tests). A forced choice that cannot run raises. Unset, tensors on a GPU take
``triton`` and those on a CPU ``native``; where triton is not installed or the native kernels were not compiled,
``torch`` runs and a line in the log says so. Steps of an operator that have no native kernel, and types that these do
not know (float16), are PyTorch calls under ``native`` as well.

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

from . import native

logger = logging.getLogger("mde_fast.kernels")

IMPLEMENTATIONS = ("reference", "torch", "native", "triton")
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
    elif device.type == "cpu":
        missing = native.reason_unavailable()
        name, reason = ("torch", missing) if missing else ("native", f"compiled for {native.variant()}")
    elif device.type != "cuda":
        name, reason = "torch", f"nothing else runs on {device.type}"
    elif _triton_installed:
        name, reason = "triton", "fastest on cuda"
    else:
        name, reason = "torch", "triton is not installed: pip install triton"
    if not torch.compiler.is_compiling() and (name, device.type) not in _announced:
        _announced.add((name, device.type))
        level = logging.WARNING if name == "torch" and device.type == "cuda" and not chosen else logging.INFO
        logger.log(level, "operators on %s run as '%s' (%s)", device.type, name, reason)
    return name


def implementation_in_full(device: torch.device) -> str:
    """The implementation, and where machines differ in it the kind that this one runs: what decides bits."""
    name = implementation(device)
    return f"{name}, {native.variant()}" if name == "native" else name


def _require(chosen: str, device: torch.device) -> None:
    if chosen not in IMPLEMENTATIONS:
        raise ValueError(f"MDE_FAST_IMPL={chosen}: no such implementation, choose from {', '.join(IMPLEMENTATIONS)}")
    if chosen == "native":
        if device.type != "cpu":
            raise RuntimeError(f"MDE_FAST_IMPL=native: tensors are on {device.type}, native kernels run on a CPU")
        if missing := native.reason_unavailable():
            raise RuntimeError(f"MDE_FAST_IMPL=native: {missing}")
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
    """One step of an operator, without autograd: PyTorch calls, launchers of its kernels, and a registered operator.

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
                ``triton_kernels`` with the launcher ``<name>_triton``, imported at first use, and triton with it; and
                ``native`` with ``<name>_native``, unless the step has no native kernel.
            fake: returns empty outputs of the right shape, for tracing.
        """
        self.name = schema.partition("(")[0]
        self._cpu = cpu
        self._launchers: dict[str, Callable] = {}
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
        first = next(argument for argument in arguments if isinstance(argument, Tensor))
        chosen, device = implementation(first.device), first.device
        if chosen == "native":
            known = all(
                a.dtype in native.ELEMENTS for a in arguments if isinstance(a, Tensor) and a.is_floating_point()
            )
            return (self._launcher("native") if known else self._cpu)(*arguments)
        if chosen != "triton":
            return self._cpu(*arguments)
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):  # Triton launches on the current device
                return self._launcher("triton")(*arguments)
        return self._launcher("triton")(*arguments)

    def _launcher(self, kind: str) -> Callable:
        """The function ``<name>_<kind>`` beside the PyTorch calls."""
        if kind not in self._launchers:
            folder = self._cpu.__module__.rpartition(".")[0]
            module = ".native" if kind == "native" else ".triton_kernels"
            if kind == "native" and importlib.util.find_spec(module, folder) is None:
                self._launchers[kind] = self._cpu
            else:
                self._launchers[kind] = getattr(importlib.import_module(module, folder), f"{self.name}_{kind}")
        return self._launchers[kind]
