"""Values as they stand in YAML or on the command line, turned into an option's type."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

from ..errors import InputError
from .schema import Option


def convert(option: Option, value: Any, origin: str) -> Any:
    """``value`` as the option's type; whether the option may have it is for :meth:`Option.require` to say.

    Args:
        origin: where the value stands, for the message.

    Raises:
        InputError: it is not of that type.
    """
    kind = option.type
    if isinstance(kind, types.UnionType):  # X | None
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if value is None:
            return None
    container = typing.get_origin(kind)
    try:
        if container is dict:
            return _to_mapping(value)
        if container is tuple:
            several = value.split(",") if isinstance(value, str) else value
            parts = several if isinstance(several, (list, tuple)) else [several]
            element = typing.get_args(kind)[0]
            return tuple(_to_scalar(element, part) for part in parts if part != "")
        return _to_scalar(kind, one_of(value))
    except ValueError as error:
        raise InputError(f"{origin}: {option.name}={value}: {error}") from None


def shown(value: Any) -> str:
    """A value as people write it, and as :func:`convert` reads it."""
    if isinstance(value, dict):
        return ",".join(f"{key}={entry}" for key, entry in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def plain(value: Any) -> Any:
    """A value as YAML and JSON know it."""
    return list(value) if isinstance(value, tuple) else value


def one_of(value: Any) -> Any:
    """The value of a grid of one, as MMRec writes them, or the value itself.

    Raises:
        ValueError: there are several, or none.
    """
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if isinstance(value, list):
        raise ValueError("needs one value, not a list; run once for each")
    return value


def _to_scalar(kind: type, value: Any) -> Any:
    if kind is bool:
        return _to_bool(value)
    if kind in (int, float):
        return _to_number(kind, value)
    if value is None:
        raise ValueError("needs a value")
    return str(value)


def _to_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError("needs true or false")


def _to_number(kind: type, value: Any) -> Any:
    try:
        if isinstance(value, bool) or not math.isfinite(float(value)):
            raise ValueError
        if kind is float:
            return float(value)
        if float(value) != int(float(value)):
            raise ValueError
        return int(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"needs {'a whole number' if kind is int else 'a number'}") from None


def _to_mapping(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(key): str(entry) for key, entry in value.items()}
    pairs = [part.partition("=") for part in str(value).split(",") if part]
    if not all(key and separator and entry for key, separator, entry in pairs):
        raise ValueError("needs name=file,name=file")
    names = [key for key, _, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} has two files; keep one")
    return {key: entry for key, _, entry in pairs}
