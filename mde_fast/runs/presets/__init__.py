"""Options that were found for a model on a dataset: a YAML file per model in this folder, a section per dataset.

A section is named like the dataset; ``default`` is for datasets that have none, and ``large`` is laid over it where
there are many interactions. Its entry ``found`` says how the options were found, the others are options. What a preset
does not name has its default.
"""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.compression import bare_name, ending
from ...data.locate import FILES
from ...errors import InputError
from ...files.places import user_path
from ...models import DEFAULT_MODEL
from ...options import convert, read_mapping, shown
from ..config import model_of_file, read_options, resolve_key

FOLDER = Path(__file__).parent
GENERAL = "default"  # section of any dataset that has none of its own
LARGE = "large"  # laid over the general one for data with more training interactions than MANY
MANY = 500_000
NONE = "none"
FOUND = "found"


@dataclass(frozen=True)
class Preset:
    """Attributes:
    name: of the section, the path of a file, or ``none``.
    model: whose options these are.
    options: option name -> value, for :func:`mde_fast.runs.config.make_config`.
    found: how the options were found.
    """

    name: str
    model: str
    options: dict[str, Any]
    found: str = ""

    def describe(self, given: Container[str]) -> str:
        """A line for the log: what the preset sets, and what it leaves to options that were ``given``."""
        if self.name == NONE:
            return "no preset: options that are not given have their defaults"
        own = ", ".join(f"{name} {shown(value)}" for name, value in self.options.items() if name not in given)
        others = ", ".join(name for name in self.options if name in given)
        said = f"preset {self.name} of {self.model}: {own or 'sets nothing'}"
        return said + (f"; given otherwise: {others}" if others else "")


def preset_names(model: str = DEFAULT_MODEL) -> list[str]:
    """Of the presets that come with the package for a model."""
    return sorted(_sections(model))


def find_preset(dataset: str, preset: str | None = None, *, model: str = DEFAULT_MODEL) -> Preset:
    """The options found for a model on a dataset::

        make_config({**find_preset("baby").options, "dataset": "baby", "epochs": 50})

    Args:
        dataset: a name or a path, as in the option ``dataset``; what counts is the name of the folder or file, in any
            case.
        preset: the name of another preset of the model, ``none``, or a YAML file of options; default: the dataset's
            own, failing that ``default``, failing that none.
        model: whose options are wanted.

    Raises:
        InputError: there is no such preset, or its file cannot be used.
    """
    if preset is not None and Path(preset).suffix in (".yaml", ".yml"):
        return _of_file(preset, model)
    sections = _sections(model)
    if preset is None:
        own = _name_of(dataset)
        preset = own if own in sections else GENERAL if GENERAL in sections else NONE
    name = preset.lower()
    if name == NONE:
        return Preset(NONE, model, {})
    if name not in sections:
        raise InputError(
            f"--preset: {model} has none called {preset}; choose {', '.join([*sorted(sections), NONE])}, "
            "or give a file that ends in .yaml"
        )
    content = dict(sections[name])
    found, origin = content.pop(FOUND, ""), f"preset {name} of {model}"
    entries = {key: resolve_key(key, (model,), origin) for key in content}
    options = {entry.name: convert(entry, content[key], origin) for key, entry in entries.items()}
    return Preset(name, model, options, " ".join(found.split()))


def for_large_data(preset: Preset, given: Container[str]) -> Preset | None:
    """What is laid over a preset that nobody named where training has more than MANY interactions; None for nothing.

    Options found for a dataset by its name stay as they are. So do all of these where one of them was ``given``: they
    belong together, as a batch and its learning rate do.
    """
    if preset.name not in (GENERAL, NONE) or LARGE not in _sections(preset.model):
        return None
    large = find_preset("", LARGE, model=preset.model)
    return None if any(name in given for name in large.options) else large


def _of_file(path: str, model: str) -> Preset:
    named = model_of_file(path) or model
    if named != model:
        raise InputError(f"--preset: {path} is of the model {named}, not of {model}; train with --model {named}")
    options = read_options(path, (model,)).options
    options.pop("model", None)  # it is chosen already
    return Preset(path, model, options, head_comment(path))


def head_comment(path: str | Path) -> str:
    """What a file of options says of itself in the comment at its head."""
    lines = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(line for line in lines if line)


def _sections(model: str) -> dict[str, dict[str, Any]]:
    path = FOLDER / f"{model}.yaml"
    return read_mapping(path) if path.is_file() else {}


def _name_of(dataset: str) -> str:
    """The name by which a dataset of any form goes (:func:`mde_fast.data.load.load_dataset`), in lower case."""
    place = Path(os.path.abspath(user_path(dataset, "--dataset")))
    if place.suffix == ".txt":
        place = place.parent
    return (bare_name(place) if ending(place) in FILES else place.name).lower()
