"""What is searched: options, and the values that each may take, from a YAML file."""

from __future__ import annotations

import typing
from collections.abc import Container
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ..errors import InputError
from ..runs.config import MODEL, OPTIONS, TYPES, Config, convert, make_config, read_mapping, resolve_key

DEFAULT_SPACE = Path(__file__).with_name("space.yaml")
# Data, evaluation, seed and length of training decide what a metric means, not how good the model is.
SEARCHABLE = [name for name, entry in OPTIONS.items() if entry.metadata["group"] == MODEL and name != "model"]
SEARCHABLE += ["learning_rate", "train_batch_size"]
# Of other models than MDE, which uses all: what is searchable and has an effect.
EFFECTIVE = {"lightgcn": ("embedding_size", "n_layers", "reg_weight", "learning_rate", "train_batch_size")}

Space = dict[str, BaseDistribution]


def read_space(path: str | Path, given: Container[str] = (), model: str = "mde") -> tuple[Space, dict[str, list[str]]]:
    """The search space of a YAML file: ``option: {low: 1, high: 9, log: true}`` or ``option: [value, value]``.

    Args:
        path: the file; MMRec's names are understood.
        given: options whose values are decided already.
        model: whose options these are.

    Returns:
        (space, left_out): option name -> values; and why options were left out -> which.

    Raises:
        InputError: an unknown option, one that cannot be searched, or a range or a list that makes no sense.
    """
    space, left_out = {}, {}
    for key, entry in read_mapping(path).items():
        name = resolve_key(str(key), str(path))
        if name in space:
            raise InputError(f"{path}: {key} means {name}, which an earlier key searches already; keep one of the two")
        if name not in SEARCHABLE:
            raise InputError(f"{path}: {name} cannot be searched; give it as --{name.replace('_', '-')} instead")
        if name in given:
            left_out.setdefault("are given", []).append(name)
        elif name not in EFFECTIVE.get(model, SEARCHABLE):
            left_out.setdefault(f"have no effect on {model}", []).append(name)
        elif isinstance(entry, dict):
            space[name] = _range(path, name, entry)
        elif isinstance(entry, list):
            space[name] = _choices(path, name, entry)
        else:
            raise InputError(f"{path}: {name}: {entry} is no range {{low: ..., high: ...}} and no list of values")
    if not space:
        reasons = "".join(f"; {', '.join(names)} {reason}" for reason, names in left_out.items())
        raise InputError(f"{path}: nothing to search{reasons}")
    return space, left_out


def _range(path: str | Path, name: str, entry: dict[str, Any]) -> BaseDistribution:
    kind = TYPES[name]
    if kind not in (int, float):
        raise InputError(f"{path}: {name}: a range is for numbers; give a list of values")
    unknown = [str(key) for key in entry if key not in ("low", "high", "log")]
    if unknown or not {"low", "high"} <= entry.keys():
        raise InputError(f"{path}: {name}: a range has low, high and, if wanted, log; write {{low: ..., high: ...}}")
    low, high = (_value(path, name, entry[end]) for end in ("low", "high"))
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{path}: {name}: log is {log}; write true or false")
    if low >= high:
        raise InputError(f"{path}: {name}: low is {low} and high is {high}; low must be less")
    if log and low <= 0:
        raise InputError(f"{path}: {name}: low is {low}; it must be greater than 0 on a logarithmic scale")
    return FloatDistribution(low, high, log=log) if kind is float else IntDistribution(low, high, log=log)


def _choices(path: str | Path, name: str, entry: list[Any]) -> CategoricalDistribution:
    choices = [_as_choice(_value(path, name, value)) for value in entry]
    if len(set(choices)) < len(choices) or len(choices) < 2:
        raise InputError(f"{path}: {name}: a list needs two or more different values; fix one with --{name} VALUE")
    return CategoricalDistribution(choices)


def _value(origin: str | Path, name: str, value: Any) -> Any:
    """A value as the option has it, checked as a run would."""
    if isinstance(value, list) and typing.get_origin(TYPES[name]) is not tuple:
        raise InputError(f"{origin}: {name}: {value} is a list within a list; write one value")
    converted = convert(name, value, str(origin))
    try:
        make_config({name: converted})
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    return converted


def _as_choice(value: Any) -> Any:
    """Storage knows numbers and text; ``convert`` makes of the text what it was."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def to_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Option name -> value for the parameters of a trial."""
    return {name: convert(name, value, "the search") for name, value in parameters.items()}


def suggest(trial: Trial, space: Space) -> None:
    """Give a trial its parameters: those it was enqueued with, and proposals for the others."""
    for name, values in space.items():
        if _is_list(values):
            trial.suggest_categorical(name, values.choices)
        elif isinstance(values, IntDistribution):
            trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def check_point(point: dict[str, Any], space: Space) -> None:
    """Refuse parameters that a person enqueued and that cannot be trained. A number may lie outside of its range.

    Raises:
        InputError: naming the option.
    """
    origin = "the enqueued point"
    for name, value in point.items():
        if name not in space:
            raise InputError(f"{origin}: {name} is not searched; choose from {', '.join(space)}")
        values = space[name]
        if _is_list(values):
            if value not in values.choices:
                raise InputError(f"{origin}: {name}: {value} is not one of {describe(values)}")
        elif _value(origin, name, value) <= 0 and values.log:
            raise InputError(f"{origin}: {name}: {value} must be greater than 0, the scale is logarithmic")


def point_of(config: Config, space: Space) -> dict[str, Any]:
    """The parameters that a configuration has in a space; an option whose value the space lacks is left out."""
    point = {}
    for name, values in space.items():
        value = _as_choice(getattr(config, name))
        inside = value in values.choices if _is_list(values) else values.low <= value <= values.high
        if inside:
            point[name] = value
    return point


def describe(values: BaseDistribution) -> str:
    """``0.001 to 0.1 (log)``, or ``mean, sum``."""
    if _is_list(values):
        return ", ".join(map(str, values.choices))
    return f"{values.low} to {values.high}" + (" (log)" if values.log else "")


def _is_list(values: BaseDistribution) -> bool:
    return isinstance(values, CategoricalDistribution)
