"""Which implementation of an operator runs: one place decides, and says so once.

``MDE_FAST_IMPL`` forces a choice for every operator: ``reference`` (the frozen ground truth, slow), ``torch`` (PyTorch
calls with a backward of our own), ``native`` (the CPU kernels) or ``triton`` (the GPU kernels; on a CPU they need
``TRITON_INTERPRET=1``, which is for tests). A forced choice that cannot run raises. Unset, tensors on a GPU take
``triton`` and those on a CPU ``native``; where triton is not installed or the native kernels were not compiled,
``torch`` runs and a line in the log says so. Steps of an operator that have no native kernel, and types that these do
not know (float16), are PyTorch calls under ``native`` as well. Unless a choice is forced, a native step of some size is
timed against its PyTorch calls once per machine (:mod:`mde_fast.kernels.measured`), which run where they are clearly
faster.

``MDE_FAST_NVTX=1`` puts an NVTX range round every operator, for Nsight and other profilers; it needs the package nvtx.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import native
from .measured import answered, milliseconds

logger = logging.getLogger("mde_fast.kernels")

IMPLEMENTATIONS = ("reference", "torch", "native", "triton")
MARGIN = 1.2  # how much faster PyTorch's calls have to be than a native kernel to take its place
LIBRARY_MARGIN = 0.95  # the same where these calls are one product of a library's, which then keeps its place
MEASURED_FROM = 2**16  # numbers in a step's tensors; of smaller ones the call itself takes longest
_announced: set[tuple[str, str]] = set()
_preferred: str | None = None
_triton_installed = importlib.util.find_spec("triton") is not None
_profiling = os.environ.get("MDE_FAST_NVTX") == "1"
if _profiling:
    import nvtx  # pyright: ignore[reportMissingImports] - of the extra "bench"


def prefer(name: str | None) -> None:
    """Run every operator of this process as one implementation, whatever ``MDE_FAST_IMPL`` says; None takes it back."""
    global _preferred
    _preferred = name


def implementation(device: torch.device) -> str:
    """Name of the implementation that operators run on a device.

    Raises:
        ValueError: one was asked for that does not exist.
        RuntimeError: it cannot run here.
    """
    chosen, source = _asked_for()
    if chosen:
        _require(chosen, source, device)
        name, reason = chosen, source
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


def _asked_for() -> tuple[str, str]:
    """The implementation that a person named, and where; empty for none."""
    return (_preferred, "operators") if _preferred else (os.environ.get("MDE_FAST_IMPL", ""), "MDE_FAST_IMPL")


def implementation_in_full(device: torch.device) -> str:
    """The implementation, and for which processors it was compiled: with :func:`winners`, what decides bits."""
    name = implementation(device)
    return f"{name}, {native.variant()}" if name == "native" else name


def winners(device: torch.device) -> dict[str, str]:
    """What was measured on this machine so far, and whether a native kernel or PyTorch's calls run there."""
    if implementation(device) != "native" or _asked_for()[0]:
        return {}
    both = {question: times for question, times in answered().items() if times.keys() == {"native", "torch"}}
    return {question: "torch" if _torch_wins(question, times) else "native" for question, times in both.items()}


def _torch_wins(question: str, times: dict[str, float]) -> bool:
    """Native kernels stay unless PyTorch's calls are clearly faster: between equals noise would decide, and so bits."""
    return times["native"] > _margins.get(question.partition(" ")[0], MARGIN) * times["torch"]


def _require(chosen: str, source: str, device: torch.device) -> None:
    asked = f"{source}={chosen}"
    if chosen not in IMPLEMENTATIONS:
        raise ValueError(f"{asked}: no such implementation, choose from {', '.join(IMPLEMENTATIONS)}")
    if chosen == "native":
        if device.type != "cpu":
            raise RuntimeError(f"{asked}: tensors are on {device.type}, native kernels run on a CPU")
        if missing := native.reason_unavailable():
            raise RuntimeError(f"{asked}: {missing}")
    if chosen != "triton":
        return
    if not _triton_installed:
        raise RuntimeError(f"{asked}: triton is not installed; pip install triton")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError(
            f"{asked}: tensors are on {device.type}; move them to a GPU, or set TRITON_INTERPRET=1 to test"
        )


def use_reference(device: torch.device) -> bool:
    """Whether the frozen reference was asked for. Inside ``torch.compile`` it never runs."""
    return not torch.compiler.is_compiling() and implementation(device) == "reference"


def _tensors(arguments: tuple) -> Iterator[Tensor]:
    """The tensors among an operator's arguments, and those in its lists of tensors."""
    for argument in arguments:
        for each in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(each, Tensor):
                yield each


_library = torch.library.Library("mde_fast", "DEF")
_margins: dict[str, float] = {}  # of the primitives


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
        margin: float = MARGIN,
    ):
        """
        Args:
            schema: of the registered operator, ``name(...) -> ...``; its first Tensor argument decides the device.
            cpu: the implementation in PyTorch calls; it works on every device. Beside its module lies
                ``triton_kernels`` with the launcher ``<name>_triton``, imported at first use, and triton with it; and
                ``native`` with ``<name>_native``, unless the step has no native kernel.
            fake: returns empty outputs of the right shape, for tracing.
            margin: how much faster than a native kernel ``cpu`` has to be measured to take its place.
        """
        self.name = schema.partition("(")[0]
        _margins[self.name] = margin
        self._cpu = cpu
        self._launchers: dict[str, Callable] = {}
        self._fastest: dict[tuple, Callable] = {}
        self._measurable = "!" not in schema  # what writes in place must not be run once more
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
        first = next(_tensors(arguments))
        chosen, device = implementation(first.device), first.device
        if chosen == "native":
            return self._fastest_on_cpu(arguments)(*arguments)
        if chosen != "triton":
            return self._cpu(*arguments)
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):  # Triton launches on the current device
                return self._launcher("triton")(*arguments)
        return self._launcher("triton")(*arguments)

    def _fastest_on_cpu(self, arguments: tuple) -> Callable:
        """The native kernel where there is one for these types, unless PyTorch's calls are faster at this size."""
        kernel = self._launcher("native")
        tensors = list(_tensors(arguments))
        dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if kernel is self._cpu or not dtypes <= native.ELEMENTS.keys():
            return self._cpu
        numbers = sum(tensor.numel() for tensor in tensors)
        if numbers < MEASURED_FROM or _asked_for()[0] or not self._measurable:
            return kernel
        size = (numbers.bit_length(), *sorted(map(str, dtypes)), torch.get_num_threads())
        if size not in self._fastest:
            kind = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
            question = f"{self.name} of 2^{numbers.bit_length() - 1} numbers in {kind}"
            ways = {"native": lambda: kernel(*arguments), "torch": lambda: self._cpu(*arguments)}
            self._fastest[size] = self._cpu if _torch_wins(question, milliseconds(question, ways)) else kernel
        return self._fastest[size]

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
