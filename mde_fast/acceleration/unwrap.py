"""Plain tensors in place of the subclasses of this package, in whatever a function is called with."""

from __future__ import annotations

from typing import Any

import torch


def unwrapped(value: Any, kind: type, wrappers: dict[int, Any]) -> Any:
    """``value`` with the plain tensor of every ``kind`` in it, which is noted in ``wrappers`` by the plain's id."""
    if isinstance(value, kind):
        wrappers[id(value.plain)] = value
        return value.plain
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        items = [unwrapped(item, kind, wrappers) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {key: unwrapped(item, kind, wrappers) for key, item in value.items()}
    return value
