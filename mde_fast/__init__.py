"""mde_fast: fast training of multi-modal recommenders."""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_PUBLIC = {
    "Recommender": ".ranking.recommender",
    "Config": ".runs.config",
    "make_config": ".runs.config",
    "Evaluator": ".ranking.evaluator",
    "find_preset": ".runs.presets",
    "start_run": ".runs.life",
    "resume_run": ".runs.life",
    "accelerate": ".acceleration",
}
__all__ = [*_PUBLIC, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    """Import on first use: the operators alone do not pull in plotting and file formats."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
