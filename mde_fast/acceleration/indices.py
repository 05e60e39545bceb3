"""The indices of an accelerated COO matrix, followed to the matrices that a model makes from them within a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .selection import Selection
from .unwrap import unwrapped

_GET_T, _GET_MT = (vars(torch._C.TensorBase)[name].__get__ for name in ("T", "mT"))
_TRANSPOSES = frozenset((torch.t, torch.Tensor.t, _GET_T, _GET_MT))
_SWAPS = frozenset((torch.transpose, torch.Tensor.transpose))
_EQUAL = frozenset((torch.clone, torch.Tensor.clone, torch.Tensor.contiguous, torch.detach, torch.Tensor.detach))
_SELECTS = frozenset((torch.index_select, torch.Tensor.index_select))
_MAKES = torch.ops.aten._sparse_coo_tensor_with_dims_and_tensors.default


class Indices(torch.Tensor):
    """(2, edges) indices of an accelerated matrix, or (edges, 2), that know which of its edges they are.

    A choice of edges by a mask or by numbers, and a transposition, give such indices again; to every other function
    they are the tensor they were made from, and what it returns is plain. ``torch.sparse_coo_tensor`` and its like do
    not ask a tensor's class but the dispatcher does, so a matrix made of them is seen there.
    """

    plain: Tensor
    chosen: Selection | None
    flipped: bool
    made: Callable[[Tensor, Tensor, Selection | str], Tensor]
    version: int

    @staticmethod
    def __new__(
        cls,
        plain: Tensor,
        chosen: Selection | None,
        made: Callable[[Tensor, Tensor, Selection | str], Tensor],
        flipped: bool = False,
    ) -> Indices:
        """
        Args:
            plain: the indices.
            chosen: which edges these are; None when one is repeated.
            made: called with a COO matrix of these indices, its values as given, and which edges it has or why that is
                not known; returns what the model gets.
            flipped: (edges, 2).
        """
        self: Any = torch.Tensor._make_subclass(cls, plain.detach())
        self.plain, self.chosen, self.made, self.flipped = plain, chosen, made, flipped
        self.version = plain._version
        return self

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        wrappers: dict[int, Indices] = {}
        plain_arguments = unwrapped(arguments, Indices, wrappers)
        result = function(*plain_arguments, **unwrapped(keywords or {}, Indices, wrappers))
        if not isinstance(result, Tensor):
            return result
        if id(result) in wrappers:
            return wrappers[id(result)]
        followed = arguments[0] if arguments and isinstance(arguments[0], Indices) and len(wrappers) == 1 else None
        if followed is None or keywords or not followed._can_be_followed(result):
            return result
        return followed._after(function, arguments[1:], result)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        wrappers: dict[int, Indices] = {}
        result = function(*unwrapped(arguments, Indices, wrappers), **unwrapped(keywords or {}, Indices, wrappers))
        if isinstance(result, Tensor) and id(result) in wrappers:
            return wrappers[id(result)]
        if function is not _MAKES or not isinstance(arguments[3], Indices) or not _is_plain(arguments[4]):
            return result
        indices = arguments[3]
        if indices.flipped or arguments[:2] != (2, 0):
            return result
        chosen = indices.chosen
        if indices.plain._version != indices.version:
            chosen = "indices changed in place"
        elif chosen is None:
            chosen = "an edge chosen twice"
        return indices.made(result, arguments[4], chosen)

    def _can_be_followed(self, result: Tensor) -> bool:
        # Tensors made under inference_mode do not count their changes.
        return not result.is_inference() and self.plain._version == self.version

    def _after(self, function, arguments: tuple, result: Tensor) -> Tensor:
        """What a function made of these indices."""
        if function in _EQUAL and not arguments:
            return Indices(result, self.chosen, self.made, self.flipped)
        if function in _TRANSPOSES or (function in _SWAPS and len(arguments) == 2):
            flips = function in _TRANSPOSES or arguments[0] % 2 != arguments[1] % 2
            return Indices(result, self.chosen, self.made, self.flipped != flips)
        choice = None
        if function is torch.Tensor.__getitem__:
            choice = _choice(arguments[0], self.flipped)
        elif function in _SELECTS and len(arguments) == 2 and arguments[0] % 2 != self.flipped:
            choice = arguments[1]
        if not isinstance(choice, Tensor) or not _is_plain(choice) or choice.ndim != 1:
            return result
        if choice.dtype not in (torch.bool, torch.int32, torch.int64) or choice.device != result.device:
            return result
        chosen = self.chosen
        if chosen is not None:
            chosen = chosen.masked(choice) if choice.dtype == torch.bool else chosen.numbered(choice)
        return Indices(result, chosen, self.made, self.flipped)


def _choice(index, flipped: bool):
    """The tensor that chooses edges in ``indices[index]``; None where the index does something else."""
    whole = slice(None)
    if flipped:
        index = index if isinstance(index, tuple) else (index,)
        return index[0] if len(index) == 1 or (len(index) == 2 and _is(index[1], whole)) else None
    if isinstance(index, tuple) and len(index) == 2 and (_is(index[0], whole) or index[0] is Ellipsis):
        return index[1]
    return None


def _is(value, whole: slice) -> bool:
    return isinstance(value, slice) and value == whole


def _is_plain(value) -> bool:
    return type(value) in (Tensor, torch.nn.Parameter)
