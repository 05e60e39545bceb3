"""Models by name: every file of this folder but ``model.py`` is one, and its name is what the option ``model`` says."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import lru_cache

from ..errors import InputError
from .model import Batch, HasPreferences, Inputs, Model

__all__ = ["DEFAULT_MODEL", "Batch", "HasPreferences", "Inputs", "Model", "find_model", "model_names"]

DEFAULT_MODEL = "mde"


@lru_cache(maxsize=1)
def model_names() -> tuple[str, ...]:
    """Of all models: the default first, the others by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "model"]
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_MODEL, name)))


def find_model(name: str) -> type[Model]:
    """The class of a model.

    Raises:
        InputError: there is none of that name.
    """
    if name not in model_names():
        raise InputError(f"model: {name!r} is not one of {', '.join(model_names())}")
    module = importlib.import_module(f".{name}", __name__)
    (model,) = (
        entry
        for entry in vars(module).values()
        if inspect.isclass(entry) and issubclass(entry, Model) and entry.__module__ == module.__name__
    )
    return model
