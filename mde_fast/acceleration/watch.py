"""Follows what a module's attributes hold, now and when they are assigned later."""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

LARGEST_CONTAINER = 1000  # entries; a longer list or dict holds data, not adjacency matrices
_OF_EVERY_MODULE = frozenset(nn.Module().__dict__)


def can_be_watched(module: nn.Module, layers: tuple[type, ...]) -> bool:
    """The libraries' own modules hold no sparse matrices, and scripted ones have no class to derive from."""
    return type(module) in layers or not type(module).__module__.startswith(("torch.", "torch_geometric."))


def is_container(value) -> bool:
    return isinstance(value, (list, dict)) and len(value) <= LARGEST_CONTAINER


def replace_within(value, replace: Callable, path: str):
    """``value`` with ``replace(item, path)`` for every tensor and module it holds.

    Lists and dicts are changed in place, so that whoever shares them sees the same; tuples are made anew.
    """
    if isinstance(value, (torch.Tensor, nn.Module)):
        return replace(value, path)
    if is_container(value):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            new = replace_within(item, replace, f"{path}[{key!r}]")
            if new is not item:
                value[key] = new
    elif type(value) is tuple and len(value) <= LARGEST_CONTAINER:
        items = [replace_within(item, replace, f"{path}[{index}]") for index, item in enumerate(value)]
        if any(new is not old for new, old in zip(items, value)):
            return tuple(items)
    return value


def attributes(module: nn.Module) -> dict[str, Any]:
    """A module's buffers and plain attributes by name."""
    own = {name: value for name, value in module.__dict__.items() if name not in _OF_EVERY_MODULE}
    return own | {name: buffer for name, buffer in module._buffers.items() if buffer is not None}


def put(module: nn.Module, name: str, value) -> None:
    """Set an attribute without the module's own ``__setattr__``."""
    (module._buffers if name in module._buffers else module.__dict__)[name] = value


def watched_class(original: Any, seen: Callable, methods: dict[str, Callable]) -> type:
    """A class derived from a module's that hands what is assigned to its attributes to ``seen(module, name, value)``.

    It has the original's name. Deep copies are of the watched class, pickles of the original.

    Args:
        original: the module's class.
        seen: returns what is to be kept in place of the value.
        methods: further methods, which may call the original's.
    """

    def set_attribute(self, name, value):
        original.__setattr__(self, name, seen(self, name, value))
        _watch_container(watched, name, value, seen)

    def register_buffer(self, name, tensor, persistent=True):
        original.register_buffer(self, name, seen(self, name, tensor), persistent)

    def deep_copy(self, memo):
        copied = watched.__new__(watched)
        memo[id(self)] = copied
        state = self.__getstate__() if hasattr(self, "__getstate__") else self.__dict__
        copied.__setstate__(copy.deepcopy(state, memo))
        return copied

    def reduce(self, protocol):
        rebuild, arguments, *rest = original.__reduce_ex__(self, protocol)
        if rebuild is copyreg.__newobj__:  # pyright: ignore  # it insists on the object's own class
            return copyreg._reconstructor, (original, object, None), *rest  # pyright: ignore
        return rebuild, tuple(original if argument is watched else argument for argument in arguments), *rest

    body = {"__setattr__": set_attribute, "register_buffer": register_buffer, "__reduce_ex__": reduce}
    if not hasattr(original, "__deepcopy__"):
        body["__deepcopy__"] = deep_copy
    body |= methods
    body |= {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
    watched = type(original)(original.__name__, (original,), body)
    return watched


def watch_containers(module: nn.Module, seen: Callable) -> None:
    """Look through lists and dicts whenever they are read: what is put into them later is seen too."""
    for name, value in attributes(module).items():
        _watch_container(type(module), name, value, seen)


def _watch_container(watched: type, name: str, value, seen: Callable) -> None:
    if not isinstance(value, (list, dict)) or name in _OF_EVERY_MODULE or hasattr(watched, name):
        return

    def get(self):
        try:
            kept = self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None  # Python goes on to __getattr__: buffers, parameters, submodules
        return seen(self, name, kept) if is_container(kept) else kept

    def put_value(self, new):
        self.__dict__[name] = new

    def delete(self):
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    setattr(watched, name, property(get, put_value, delete))
