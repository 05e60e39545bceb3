"""Options that were found for a dataset: a YAML file each in this folder, whose first lines say how they were found.

Where an option is set more than once, the order is default of Config < preset < ``--config`` file < flag.
"""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.locate import FILES
from ...errors import InputError
from ..config import default_of, read_yaml

FOLDER = Path(__file__).parent
GENERAL = "default"  # of any dataset that has none of its own
NONE = "none"


@dataclass(frozen=True)
class Preset:
    """Attributes:
    name: of the preset, the path of its file, or ``none``.
    options: option name -> value, for :func:`mde_fast.runs.config.make_config`.
    path: of its file, whose head comment says how the options were found; None for ``none``.
    """

    name: str
    options: dict[str, Any]
    path: Path | None = None

    def describe(self, given: Container[str]) -> str:
        """A line for the log: what the preset sets, and what it leaves to options that were ``given``."""
        if self.name == NONE:
            return "no preset: options that are not given have their defaults"
        own = ", ".join(f"{name} {value}" for name, value in self.options.items() if name not in given)
        others = ", ".join(name for name in self.options if name in given)
        return f"preset {self.name}: {own or 'sets nothing'}" + (f"; given otherwise: {others}" if others else "")


def preset_names() -> list[str]:
    """Of the presets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_preset(dataset: str, preset: str | None = None, *, model: str = "mde") -> Preset:
    """The options found for a dataset::

        make_config({**find_preset("baby").options, "dataset": "baby", "epochs": 50})

    Args:
        dataset: a name or a path, as in ``Config.dataset``; what counts is the name of the folder or file, in any case.
        preset: the name of another preset, ``none``, or a YAML file of options; default: the dataset's own, and
            ``default`` for datasets without one.
        model: another model than MDE has one preset for all datasets, which has its name.

    Raises:
        InputError: there is no such preset, or its file cannot be used.
    """
    if preset is None:
        own = _name_of(dataset) if model == default_of("model") else model
        preset = own if own in preset_names() else GENERAL
    if preset.lower() == NONE:
        return Preset(NONE, {})
    if Path(preset).suffix in (".yaml", ".yml"):
        return Preset(preset, read_yaml(preset)[0], Path(preset))
    if preset.lower() not in preset_names():
        raise InputError(
            f"--preset: there is none called {preset}; choose {', '.join([*preset_names(), NONE])}, "
            "or give a file that ends in .yaml"
        )
    path = FOLDER / f"{preset.lower()}.yaml"
    return Preset(preset.lower(), read_yaml(path)[0], path)


def _name_of(dataset: str) -> str:
    """The name by which a dataset of any form goes (:func:`mde_fast.data.load.load_dataset`), in lower case."""
    place = Path(os.path.abspath(Path(dataset).expanduser()))
    if place.suffix == ".txt":
        place = place.parent
    return (place.stem if place.suffix in FILES else place.name).lower()
