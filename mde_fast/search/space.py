"""What is searched: options, and the values that each may take.

Unless a file says otherwise these are the options whose owner gave them a range, where they are written.
"""

from __future__ import annotations

import typing
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ..errors import InputError
from ..models import find_model
from ..options import Option, Range, convert, read_mapping, shown, to_yaml
from ..runs.config import Config, resolve_key, schema

# Data, evaluation, seed and length of training decide what a metric means, not how good the model is.
OF_TRAINING = ("learning_rate", "train_batch_size")

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
Space = dict[str, Distribution]


def searchable(model: str) -> dict[str, Option]:
    """Name -> option of all that may be searched."""
    kind, options = find_model(model), schema(model)
    return {**kind.Options.schema(), **{name: options[name] for name in OF_TRAINING if kind.learns}}


def default_space(model: str, given: Container[str] = (), grids: Mapping[str, tuple] | None = None) -> Space:
    """The options that come with a range; where MMRec's file has grids, those instead, value by value.

    Args:
        model: whose options these are.
        given: options whose values are decided already; they are left out.
        grids: option name -> values.

    Raises:
        InputError: there is nothing to search, or a grid of an option that cannot be searched.
    """
    entries = searchable(model)
    space: Space
    if grids:
        for name in grids:
            _require_searchable(name, entries, "--config")
        space = {
            name: _choices("--config", entries[name], list(values))
            for name, values in grids.items()
            if name not in given
        }
    else:
        space = {
            name: _distribution(entry)
            for name, entry in sorted(entries.items(), key=lambda pair: pair[0] not in OF_TRAINING)
            if entry.search is not None and name not in given
        }
    if not space:
        raise InputError("nothing to search: all options that come with a range are given; name others with --space")
    return space


def read_space(path: str | Path, given: Container[str], model: str) -> tuple[Space, list[str]]:
    """The search space of a YAML file: ``option: {low: 1, high: 9, log: true}`` or ``option: [value, value]``.

    Args:
        path: the file; MMRec's names are understood.
        given: options whose values are decided already.
        model: whose options these are.

    Returns:
        (space, left_out): option name -> values; and options that were left out, as they are given.

    Raises:
        InputError: an unknown option, one that cannot be searched, or a range or a list that makes no sense.
    """
    space: Space = {}
    left_out = []
    for key, entry in read_mapping(path).items():
        option = resolve_key(key, (model,), str(path))
        name = option.name
        if name in space:
            raise InputError(f"{path}: {key} means {name}, which an earlier key searches already; keep one of the two")
        _require_searchable(name, searchable(model), path)
        if name in given:
            left_out.append(name)
        elif isinstance(entry, dict):
            space[name] = _range(path, option, entry)
        elif isinstance(entry, list):
            space[name] = _choices(path, option, entry)
        else:
            raise InputError(f"{path}: {name}: {entry} is no range {{low: ..., high: ...}} and no list of values")
    if not space:
        raise InputError(f"{path}: nothing to search" + (f"; {', '.join(left_out)} are given" if left_out else ""))
    return space, left_out


def _require_searchable(name: str, entries: Container[str], origin: str | Path) -> None:
    if name not in entries:
        raise InputError(f"{origin}: {name} cannot be searched; give it as --{name.replace('_', '-')} instead")


def _distribution(option: Option) -> Distribution:
    """What a search tries of an option when not told otherwise."""
    if isinstance(option.search, Range):
        low, high, log = option.search.low, option.search.high, option.search.log
        if option.type is int:
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(low, high, log=log)
    return CategoricalDistribution([_as_choice(value) for value in option.search or ()])


def _range(path: str | Path, option: Option, entry: dict[str, Any]) -> Distribution:
    name, kind = option.name, option.type
    if kind not in (int, float):
        raise InputError(f"{path}: {name}: a range is for numbers; give a list of values")
    unknown = [str(key) for key in entry if key not in ("low", "high", "log")]
    if unknown or not {"low", "high"} <= entry.keys():
        raise InputError(f"{path}: {name}: a range has low, high and, if wanted, log; write {{low: ..., high: ...}}")
    low, high = (_value(path, option, entry[end]) for end in ("low", "high"))
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{path}: {name}: log is {log}; write true or false")
    if low >= high:
        raise InputError(f"{path}: {name}: low is {low} and high is {high}; low must be less")
    if log and low <= 0:
        raise InputError(f"{path}: {name}: low is {low}; it must be greater than 0 on a logarithmic scale")
    return FloatDistribution(low, high, log=log) if kind is float else IntDistribution(low, high, log=log)


def _choices(path: str | Path, option: Option, entry: list[Any]) -> CategoricalDistribution:
    name = option.name
    choices = [_as_choice(_value(path, option, value)) for value in entry]
    if len(set(choices)) < len(choices) or len(choices) < 2:
        raise InputError(f"{path}: {name}: a list needs two or more different values; fix one with --{name} VALUE")
    return CategoricalDistribution(choices)


def _value(origin: str | Path, option: Option, value: Any) -> Any:
    """A value as the option has it, checked as a run would."""
    if isinstance(value, list) and typing.get_origin(option.type) is not tuple:
        raise InputError(f"{origin}: {option.name}: {value} is a list within a list; write one value")
    converted = convert(option, value, str(origin))
    try:
        option.require(converted)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    return converted


def _as_choice(value: Any) -> Any:
    """Storage knows numbers and text; ``convert`` makes of the text what it was."""
    return shown(value) if isinstance(value, tuple) else value


def to_options(parameters: dict[str, Any], model: str) -> dict[str, Any]:
    """Option name -> value for the parameters of a trial."""
    options = schema(model)
    return {name: convert(options[name], value, "the search") for name, value in parameters.items()}


def suggest(trial: Trial, space: Space) -> None:
    """Give a trial its parameters: those it was enqueued with, and proposals for the others."""
    for name, values in space.items():
        if isinstance(values, CategoricalDistribution):
            trial.suggest_categorical(name, values.choices)
        elif isinstance(values, IntDistribution):
            trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def check_point(point: dict[str, Any], space: Space, model: str) -> None:
    """Refuse parameters that a person enqueued and that cannot be trained. A number may lie outside of its range.

    Raises:
        InputError: naming the option.
    """
    origin = "the enqueued point"
    for name, value in point.items():
        if name not in space:
            raise InputError(f"{origin}: {name} is not searched; choose from {', '.join(space)}")
        values = space[name]
        if isinstance(values, CategoricalDistribution):
            if value not in values.choices:
                raise InputError(f"{origin}: {name}: {value} is not one of {describe(values)}")
        elif _value(origin, schema(model)[name], value) <= 0 and values.log:
            raise InputError(f"{origin}: {name}: {value} must be greater than 0, the scale is logarithmic")


def point_of(config: Config, space: Space) -> dict[str, Any]:
    """The parameters that a configuration has in a space; an option whose value the space lacks is left out."""
    point, of_run = {}, config.values()
    for name, values in space.items():
        value = _as_choice(of_run[name])
        inside = (
            value in values.choices
            if isinstance(values, CategoricalDistribution)
            else values.low <= value <= values.high
        )
        if inside:
            point[name] = value
    return point


def to_file(space: Space) -> str:
    """A space as the YAML file that :func:`read_space` reads."""
    content: dict[str, Any] = {}
    for name, values in space.items():
        if isinstance(values, CategoricalDistribution):
            content[name] = list(values.choices)
        else:
            content[name] = {"low": values.low, "high": values.high, **({"log": True} if values.log else {})}
    return to_yaml(content)


def describe(values: Distribution) -> str:
    """``0.001 to 0.1 (log)``, or ``mean, sum``."""
    if isinstance(values, CategoricalDistribution):
        return ", ".join(map(str, values.choices))
    return f"{values.low} to {values.high}" + (" (log)" if values.log else "")
