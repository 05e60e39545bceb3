"""``accelerate(model)``: anybody's graph recommender on our operators, by one line and with the same numbers."""

from __future__ import annotations

import logging
import statistics
import time
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from .indices import Indices
from .matrix import LAYOUTS, SparseMatrix, why_not_accelerated
from .message_passing import Operators, fast_forward, replaceable_layers
from .record import Record
from .report import Replaced, Report
from .watch import attributes, can_be_watched, put, replace_within, watch_containers, watched_class

__all__ = ["Acceleration", "Report", "SparseMatrix", "accelerate"]

logger = logging.getLogger("mde_fast.acceleration")


def accelerate(model: nn.Module, *, layers: type | Sequence[type] = (), min_edges: int = 1000) -> Acceleration:
    """Make the sparse products of a model run as :func:`mde_fast.kernels.spmm`, forward and backward.

    Sparse matrices (COO, CSR or CSC, float32 or float64) are found in the buffers and attributes of the model and its
    submodules, and in lists, tuples and dicts there; also those assigned or put there later, and COO matrices that a
    step makes from the edges of one of them. ``torch.sparse.mm``,
    ``torch.spmm``, ``torch.mm``, ``torch.matmul``, ``@``, ``torch.mv`` and ``torch.sparse.addmm`` of them with a dense
    matrix are ours; whatever else is done with them is PyTorch's own, and counted. Layers ``LGConv`` and ``GCNConv`` of
    PyTorch Geometric become such a product where their output was checked to be one. Results are the same up to the
    order in which float32 terms are added.

    Args:
        model: changed in place; ``undo()`` of what is returned restores it.
        layers: further message-passing classes whose output is a weighted sum over neighbours, the weights depending on
            the edges alone. It is checked on the layer's own output before it is used.
        min_edges: matrices with fewer are left to PyTorch, whose calls cost less than the products of so small ones;
            of those made within a step, matrices with fewer than ten times as many.

    Returns:
        A handle with ``report()``, ``measure()`` and ``undo()``.

    Raises:
        InputError: not a module, or one that is accelerated already.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"accelerate needs a torch.nn.Module, got {type(model).__name__}; pass the model itself")
    acceleration = Acceleration(model, (layers,) if isinstance(layers, type) else tuple(layers), min_edges)
    if not acceleration.report().replaced:
        logger.warning("accelerate: %s holds no sparse matrix or layer to replace yet", type(model).__name__)
    return acceleration


class Acceleration:
    """A model's sparse products on our operators, until :meth:`undo`."""

    def __init__(self, model: nn.Module, layers: tuple[type, ...], min_edges: int):
        self.model = model
        self._layers = replaceable_layers(layers)
        self._record = Record(min_edges)
        self._operators = Operators()
        self._active = True
        self._names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._originals: weakref.WeakKeyDictionary[nn.Module, type] = weakref.WeakKeyDictionary()
        self._watched: dict[type, type] = {}
        self._accelerated: weakref.WeakValueDictionary[int, SparseMatrix] = weakref.WeakValueDictionary()
        self._tuples: dict[str, tuple[object, tuple]] = {}
        self._left: dict[str, str] = {}
        self._times: dict[str, tuple[float, ...]] = {}
        for module in model.modules():
            owner = getattr(type(module), "_mde_fast_owner", lambda: None)()
            if owner is not None and module in owner._originals:  # a copy of an accelerated module is nobody's
                raise InputError(f"{type(model).__name__} is accelerated already; undo() that first")
        self._attach(model, "")

    # -----------------------------------------------------------------------------------------------------------------
    # Finding and replacing

    def _attach(self, module: nn.Module, name: str) -> None:
        """Replace what a module and its submodules hold, and watch what they are given later."""
        if module in self._names:
            return
        self._names[module] = name
        for child_name, child in module.named_children():
            self._attach(child, f"{name}.{child_name}" if name else child_name)
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if parameter.layout in LAYOUTS:
                self._left[self._path(module, parameter_name)] = "a sparse parameter"
        if not can_be_watched(module, self._layers):
            return
        original = getattr(type(module), "_mde_fast_original", type(module))
        if original not in self._watched:
            self._watched[original] = self._watched_class(original)
        for attribute, value in attributes(module).items():
            new = self._replaced(module, attribute, value)
            if new is not value:
                put(module, attribute, new)
        module.__class__ = self._watched[original]
        self._originals[module] = original
        watch_containers(module, self._seen)

    def _watched_class(self, original: type) -> type:
        methods = {"_mde_fast_original": original, "_mde_fast_owner": weakref.ref(self)}
        if original in self._layers:
            names = self._names

            def label_of(layer: nn.Module) -> str:
                return names.get(layer, original.__name__)

            methods["forward"] = fast_forward(original, self._operators, self._record, label_of)
        return watched_class(original, self._seen, methods)

    def _seen(self, module: nn.Module, name: str, value):
        """What to keep in place of a value given to an attribute."""
        return self._replaced(module, name, value) if self._active else value

    def _path(self, module: nn.Module, name: str) -> str:
        prefix = self._names.get(module, "")
        return f"{prefix}.{name}" if prefix else name

    def _replaced(self, module: nn.Module, name: str, value):
        new = replace_within(value, self._replace, self._path(module, name))
        if new is not value and type(value) is tuple:
            self._tuples[self._path(module, name)] = new, value
        return new

    def _replace(self, value: Tensor | nn.Module, path: str):
        if isinstance(value, nn.Module):
            self._attach(value, path)
            return value
        if isinstance(value, SparseMatrix):
            if value.record is self._record:
                if value.label in self._record.made:
                    value.label = path
                return value
            value = value.plain
        if isinstance(value, Indices):  # followed within a step only
            is_buffer = hasattr(value, "_is_buffer")
            return nn.Buffer(value.plain, persistent=vars(value)["persistent"]) if is_buffer else value.plain
        if value.layout == torch.strided:
            return value
        reason = why_not_accelerated(value)
        if reason is not None:
            self._left[path] = reason
            return value
        matrix = self._accelerated.get(id(value))
        if matrix is None or matrix.plain is not value:
            matrix = self._accelerated[id(value)] = SparseMatrix(value, path, self._record)
        return matrix

    # -----------------------------------------------------------------------------------------------------------------
    # Telling and measuring

    def report(self) -> Report:
        """What was replaced, what was left to PyTorch and why, and the gains that were measured."""
        replaced = [
            Replaced(
                name=path,
                kind=str(matrix.layout).removeprefix("torch."),
                shape=tuple(matrix.shape),
                edges=matrix.plain._nnz(),
                symmetric=matrix.graphs.pair.symmetric if matrix.graphs.pair else None,
                products=self._record.products[matrix.label],
                torch_ms=self._times.get(path, (None, None))[0],
                ours_ms=self._times.get(path, (None, None))[1],
            )
            for path, matrix in self._held().items()
        ]
        replaced += [
            Replaced(name, "sparse_coo", made.shape, made.edges, None, self._record.products[name], made=made.times)
            for name, made in self._record.made.items()
            if self._active and self._record.products[name]
        ]
        replaced += [
            Replaced(name, self._originals[module].__name__, None, None, None, self._record.products[name])
            for module, name in self._names.items()
            if self._originals.get(module) in self._layers
        ]
        return Report(tuple(replaced), dict(self._left), dict(self._record.left_to_torch))

    def _held(self) -> dict[str, SparseMatrix]:
        """The accelerated matrices that the modules hold now, by attribute path."""
        held = {}

        def note(item: Tensor | nn.Module, path: str):
            if isinstance(item, SparseMatrix):
                held[path] = item
            return item

        for module in self._originals:
            for name, value in attributes(module).items():
                replace_within(value, note, self._path(module, name))
        return held

    def measure(self, width: int = 64, *, seconds: float = 1.0) -> Report:
        """Time one product with each matrix, forward and backward, by PyTorch and by us in turn; then report.

        Args:
            width: columns of the dense matrix.
            seconds: about how long each matrix takes.
        """
        for path, matrix in self._held().items():
            x = torch.randn(matrix.shape[1], width, dtype=matrix.dtype, device=matrix.device, requires_grad=True)
            upstream = torch.randn(matrix.shape[0], width, dtype=matrix.dtype, device=matrix.device)
            plain = matrix.plain.detach()
            graphs = matrix.graphs

            def torch_product(plain=plain, x=x, upstream=upstream):
                torch.autograd.grad(torch.sparse.mm(plain, x), x, upstream)

            def our_product(graphs=graphs, x=x, upstream=upstream):
                torch.autograd.grad(graphs.product(x), x, upstream)

            self._times[path] = _milliseconds((torch_product, our_product), x.device, seconds)
        return self.report()

    # -----------------------------------------------------------------------------------------------------------------
    # Undoing

    def undo(self) -> None:
        """Give every module its class and its own matrices back; what was assigned meanwhile stays, plain."""
        self._active = False
        for module, original in list(self._originals.items()):
            for name, value in attributes(module).items():
                plain = self._restored(value, self._path(module, name))
                if plain is not value:
                    put(module, name, plain)
            module.__class__ = original
        self._originals.clear()
        self._names.clear()
        self._tuples.clear()

    def _restored(self, value, path: str):
        replaced, before = self._tuples.get(path, (None, None))
        if value is replaced and before is not None:
            return before
        return replace_within(value, lambda item, _: item.plain if isinstance(item, SparseMatrix) else item, path)


def _milliseconds(runs: tuple[Callable[[], None], ...], device: torch.device, seconds: float) -> tuple[float, ...]:
    """Median of each, taking turns so that a machine's moods meet all alike; two warm-up calls are not counted."""

    def once(run: Callable[[], None]) -> float:
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - started) * 1e3

    for run in runs * 2:
        once(run)
    samples: list[list[float]] = [[] for _ in runs]
    started = time.perf_counter()
    while len(samples[0]) < 3 or time.perf_counter() - started < seconds:
        for run, own in zip(runs, samples):
            own.append(once(run))
    return tuple(statistics.median(own) for own in samples)
