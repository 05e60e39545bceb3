"""PyTorch Geometric's layers that compute A x: one product with a kept graph, once it is known to be equal."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..kernels import CSRGraph
from .graphs import GraphPair, product
from .matrix import DTYPES
from .record import Record

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}  # of a layer's output, relative RMS: sums in another order
Layer = Any  # a MessagePassing of PyTorch Geometric, which need not be installed
_HOOKS = ("propagate", "message", "aggregate", "message_and_aggregate")


def replaceable_layers(extra: Sequence[type]) -> tuple[type, ...]:
    """Classes of layers to replace: LGConv, GCNConv if PyTorch Geometric is in use, those the caller vouches for."""
    for layer in extra:
        if not (isinstance(layer, type) and hasattr(layer, "register_message_forward_hook")):
            raise InputError(f"layers={layer!r}: not a class of PyTorch Geometric's MessagePassing layers")
    convolutions = sys.modules.get("torch_geometric.nn.conv")
    known = (convolutions.LGConv, convolutions.GCNConv) if convolutions else ()
    return known + tuple(extra)


@dataclass(eq=False)
class _Operator:
    """What is known of a layer's matrix for one edge list.

    Attributes:
        tensors: weak references to the edge list and weights, with the versions they had.
        seen_by: layers that met them, by id.
        pair: A, once derived.
        refused: why A x is not what the layer computes.
    """

    tensors: tuple[tuple[weakref.ref, int], ...]
    seen_by: set[int] = field(default_factory=set)
    pair: GraphPair | None = None
    refused: str | None = None

    def is_for(self, tensors: Sequence[Tensor]) -> bool:
        return len(tensors) == len(self.tensors) and all(
            reference() is tensor and version == tensor._version
            for (reference, version), tensor in zip(self.tensors, tensors)
        )


class Operators:
    """The matrices of the edge lists that layers were called with, shared by layers of the same settings.

    An edge list is known by its identity and version, so another one, or the same one changed, is never mistaken for
    it. Nothing is derived at a layer's first meeting with it: edge lists made anew every step cost nothing extra.
    """

    def __init__(self):
        self._known: dict[tuple, _Operator] = {}

    def find(self, settings: tuple, tensors: Sequence[Tensor]) -> _Operator:
        key = (settings, *map(id, tensors))
        operator = self._known.get(key)
        if operator is None or not operator.is_for(tensors):
            known = self._known  # not self: a reference would keep the whole session alive

            def forget(_, key=key):
                known.pop(key, None)

            references = tuple((weakref.ref(tensor, forget), tensor._version) for tensor in tensors)
            operator = known[key] = _Operator(references)
        return operator


def fast_forward(
    original: type[Any], operators: Operators, record: Record, label_of: Callable[[nn.Module], str]
) -> Callable:
    """A ``forward`` for a layer's watched class."""

    def forward(self, *arguments, **keywords):
        call = _Call.of(self, arguments, keywords)
        if isinstance(call, str):
            reason = call
        else:
            operator = operators.find(_settings(self, original, call.x), call.structure)
            reason = operator.refused
            if operator.pair is not None:
                record.count_product(label_of(self))
                return _finish(self, product(operator.pair, _transform(self, call.x)))
            if reason is None and id(self) in operator.seen_by:
                return _derive(self, original, operator, call.x, arguments, keywords)
            if reason is None:
                operator.seen_by.add(id(self))
                reason = "first call with an edge list"
        record.count_left(label_of(self), reason)
        return original.forward(self, *arguments, **keywords)

    return forward


@dataclass
class _Call:
    """x (N, D), and the tensors that decide A: the edge list, and weights where they are given."""

    x: Tensor
    structure: tuple[Tensor, ...]

    @classmethod
    def of(cls, layer: Layer, arguments: tuple, keywords: dict) -> _Call | str:
        """The call's tensors, or why it is left to the layer."""
        names = ("x", "edge_index", "edge_weight")
        if len(arguments) > len(names) or not keywords.keys() <= set(names[len(arguments) :]):
            return "unusual arguments"
        given: dict[str, Any] = {**dict.fromkeys(names), **dict(zip(names, arguments)), **keywords}
        x, structure = given["x"], [given["edge_index"]]
        if given["edge_weight"] is not None:
            structure.append(given["edge_weight"])
        if not all(type(tensor) in (Tensor, nn.Parameter) for tensor in (x, *structure)):
            return "arguments that are not plain tensors"
        if x.ndim != 2 or x.dtype not in DTYPES or any(tensor.layout != torch.strided for tensor in (x, *structure)):
            return "arguments that are not dense matrices of float32 or float64"
        if any(tensor.requires_grad for tensor in structure):
            return "gradients of edge weights"
        if any(tensor.is_inference() for tensor in structure):
            return "an edge list made under inference_mode"
        if torch.is_autocast_enabled(x.device.type):
            return "autocast"
        if layer.explain or getattr(layer, "cached", False) or layer.decomposed_layers > 1:
            return "explain, cached or decomposed_layers"
        if any(getattr(layer, f"_{step}_forward{when}_hooks") for step in _HOOKS for when in ("", "_pre")):
            return "hooks on its steps"
        return cls(x, tuple(structure))


def _settings(layer: Layer, original: type, x: Tensor) -> tuple:
    """What else decides A. Layers of PyTorch Geometric share theirs; of others little is known."""
    own = ("normalize", "improved", "add_self_loops", "flow", "node_dim", "aggr")
    shared = original.__module__.startswith("torch_geometric.")
    settings = tuple(str(getattr(layer, name, None)) for name in own) if shared else (id(layer), layer.training)
    return original, x.shape[0], x.dtype, x.device, settings


def _transform(layer: Layer, x: Tensor) -> Tensor:
    return layer.lin(x) if _is_gcn(layer) else x


def _finish(layer: Layer, out: Tensor) -> Tensor:
    return out + layer.bias if _is_gcn(layer) and layer.bias is not None else out


def _is_gcn(layer: Layer) -> bool:
    return isinstance(layer, sys.modules["torch_geometric.nn.conv"].GCNConv)


def _derive(layer: Layer, original: type[Any], operator: _Operator, x: Tensor, arguments, keywords) -> Tensor:
    """Run the layer itself once more, read A off its messages, and keep A if A x is what the layer returned."""
    steps = {}

    def propagates(_, inputs):
        edge_index, _, given = inputs
        steps.update(edge_index=edge_index, edge_weight=given.get("edge_weight"), x=given.get("x"))

    def sends(_, inputs, messages):
        steps.update(x_j=inputs[0].get("x_j"), messages=messages)

    handles = layer.register_propagate_forward_pre_hook(propagates), layer.register_message_forward_hook(sends)
    try:
        out = original.forward(layer, *arguments, **keywords)
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        weights = _weights(steps)
        if isinstance(weights, str):
            operator.refused = weights
        else:
            source, target = steps["edge_index"] if layer.flow == "source_to_target" else steps["edge_index"].flip(0)
            pair = GraphPair(CSRGraph.from_edges(target, source, (len(x), len(x)), weights.to(x.dtype)))
            ours = _finish(layer, product(pair, _transform(layer, x.detach())))
            error = float((ours - out).norm() / out.norm().clamp_min(1e-30)) if ours.shape == out.shape else torch.inf
            if error <= TOLERANCE[x.dtype]:
                operator.pair = pair
            else:
                operator.refused = f"not a sum of weighted neighbours: differs by {error:.0e}"
    return out


def _weights(steps: dict) -> Tensor | str:
    """(edges,) A's values, or why the messages are not the neighbours' rows times a number."""
    messages, x_j = steps.get("messages"), steps.get("x_j")
    if not isinstance(messages, Tensor) or not isinstance(x_j, Tensor) or messages.shape != x_j.shape:
        return "messages that are not the neighbours' rows"
    if steps["edge_weight"] is not None and steps["edge_weight"].shape == x_j.shape[:1]:
        return steps["edge_weight"].detach()  # whether the layer uses them so is checked on its output
    squares = x_j.double().square().sum(1)
    return torch.where(squares > 0, (messages.double() * x_j.double()).sum(1) / squares, 0.0)
