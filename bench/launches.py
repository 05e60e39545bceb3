"""Every kernel that a training step launches on a GPU, listed where there is none.

The step that is captured as a CUDA graph runs on PyTorch's meta tensors, which have shapes and types and no numbers, so
that nothing is computed and nothing can depend on a number. Operators call their Triton launchers, as on a GPU; a
launch is written down instead of made, and so is every call of PyTorch's own.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.library import NOTHING, kernels_of, work_of
from mde_fast.kernels import CSRGraph, dispatch
from mde_fast.kernels.triton_support import plain
from mde_fast.kernels.work import Arguments, Work
from mde_fast.training.step import CapturedStep

T = TypeVar("T")

POINTERS = {
    **{torch.float64: "*fp64", torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"},
    **{torch.int64: "*i64", torch.int32: "*i32"},
}


@dataclass(frozen=True)
class Source:
    """What a Triton kernel is compiled from: ``module:name``, types and constants of its arguments, and options."""

    kernel: str
    signature: dict[str, str]
    constants: dict[str, object]
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Launch:
    """One launch, or one call of a library.

    Attributes:
        name: of the kernel, or of PyTorch's call as ``aten.mm``.
        work: what it moves and computes.
        kernels: that the call launches, one by one.
        programs: of a Triton kernel; None of a library, which shares its work out by itself.
        source: of a Triton kernel.
    """

    name: str
    work: Work
    kernels: int = 1
    programs: int | None = None
    source: Source | None = field(default=None, repr=False)


def launches_of(step: CapturedStep, size: int) -> list[Launch]:
    """What a replay on a full batch launches, in order: negatives, forward, backward, Adam and the counter.

    Args:
        step: on the CPU; it is left as it is.
        size: of the batch.
    """
    step = without_numbers(step)
    with recorded():
        step._body(size)  # what is made at first use is made in this one
    with recorded() as found, _Calls(found):
        step._body(size)
    return found


def without_numbers(original: T) -> T:
    """A deep copy with meta tensors; graphs are cut into pieces before, which needs their numbers."""
    transposes: set[int] = set()

    def copied(graph: CSRGraph, memo: dict) -> CSRGraph:
        graph.pieces()
        graph.edge_values()
        if graph.symmetric:
            graph.inverse_sqrt_degrees()
        elif id(graph) not in transposes:
            transposes.add(id(graph.transpose()))
        new = memo[id(graph)] = object.__new__(CSRGraph)
        new.__dict__.update(copy.deepcopy(graph.__dict__, memo))
        return new

    with mock.patch.object(CSRGraph, "__deepcopy__", copied, create=True), _WithoutNumbers():
        return copy.deepcopy(original)


class _WithoutNumbers(TorchFunctionMode):
    """Copies of tensors are meta tensors. (A parameter copies itself by ``clone``.)"""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
            return memo[id(tensor)]
        if func is torch._C.TensorBase.clone:
            return args[0].detach().to("meta")
        return func(*args, **(kwargs or {}))


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """The launches of operators that are called on meta tensors meanwhile."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    found: list[Launch] = []

    def run(kernel, *arguments, grid, warmup, **options):
        found.append(_launch(kernel, arguments, grid, options))

    with ExitStack() as stack:
        for kind in (JITFunction, InterpretedFunction):
            stack.enter_context(mock.patch.object(kind, "run", run))
        stack.enter_context(mock.patch.object(dispatch, "_require", lambda *asked: None))
        stack.enter_context(mock.patch.object(dispatch.Primitive, "_run", _triton_launcher))
        stack.callback(dispatch.prefer, dispatch._preferred)
        dispatch.prefer("triton")
        yield found


def _triton_launcher(primitive: dispatch.Primitive, *arguments):
    return primitive._launcher("triton")(*arguments)


def _launch(kernel, arguments: tuple, grid: tuple, options: dict) -> Launch:
    parameters = inspect.signature(kernel.fn).parameters
    given = plain(
        {**dict(zip(parameters, arguments)), **{name: options[name] for name in options if name in parameters}}
    )
    constants = {name: value for name, value in given.items() if "constexpr" in str(parameters[name].annotation)}
    types = {
        name: _type_of(value, str(parameters[name].annotation))
        for name, value in given.items()
        if name not in constants
    }
    source = Source(
        kernel=f"{kernel.fn.__module__}:{kernel.fn.__name__}",
        signature=types,
        constants=constants,
        num_warps=options.get("num_warps", 4),
        num_stages=options.get("num_stages", 3),
    )
    return Launch(kernel.fn.__name__, declared(kernel)(given), programs=math.prod(grid), source=source)


def declared(kernel) -> Callable[[Arguments], Work]:
    """The function of the kernel's ``work`` module; the interpreter keeps what a kernel was decorated with apart."""
    metadata = kernel.kwargs["launch_metadata"] if hasattr(kernel, "rewriter") else kernel.launch_metadata
    return metadata.work


def _type_of(value: object, annotation: str) -> str:
    """As Triton writes it in a signature."""
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, float):
        return "fp64" if "float64" in annotation else "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


class _Calls(TorchDispatchMode):
    """Writes down the calls of PyTorch's own that a GPU is asked for."""

    def __init__(self, found: list[Launch]):
        super().__init__()
        self.found = found
        # A meta tensor says that it is on a GPU, in backward passes too, so that what is written for one is called.
        self.on_gpu = mock.patch.object(torch.Tensor, "is_cuda", property(lambda tensor: tensor.device.type == "meta"))

    def __enter__(self):
        self.on_gpu.start()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.on_gpu.stop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.namespace == "aten" and not func.is_view and name not in NOTHING:
            self.found.append(Launch(f"aten.{name}", work_of(name, args, out), kernels_of(name, args)))
        return out
