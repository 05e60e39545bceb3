"""The options of a run: every room's and its model's, composed once the model is known.

Where an option is set more than once, the order is everywhere: default < preset < row (of an experiment) < ``--config``
file < flag.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from .. import __version__
from ..data.options import DataOptions
from ..errors import InputError
from ..files import VERSION_KEY
from ..models import DEFAULT_MODEL, find_model, model_names
from ..options import Changed, Option, Options, convert, difference, one_of, option, plain, read_mapping, to_yaml
from ..options.schema import FIRST_VERSION
from ..ranking.options import EvaluationOptions
from ..training.options import TrainingOptions
from .mmrec import COLUMN_TYPE, FEATURE_FILES, GRIDS, PASSED_OVER

# What may differ when a run goes on.
RESUMABLE_CHANGES = ("epochs", "device", "data_dir", "cache_dir", "minutes", "slow_precision")
OLD_CONFIG = (0, 2, 0)  # before it every file named the options of MDE, whichever model it was of


@dataclass(frozen=True)
class ModelChoice(Options):
    """Which model's options join the others."""

    owner: ClassVar[str] = "model"

    model: str = option(
        DEFAULT_MODEL,
        "what to train: " + "; ".join(find_model(name).title for name in model_names()),
        choices=model_names(),
    )


@dataclass(frozen=True)
class Config:
    """The resolved options of a run, by the room that owns them; made by :func:`make_config`.

    Attributes:
        model: name of the model.
        hyper: the options of that model.
        data, training, evaluation: those of the rooms.
    """

    model: str
    data: DataOptions
    hyper: Options
    training: TrainingOptions
    evaluation: EvaluationOptions

    def values(self) -> dict[str, Any]:
        """Option name -> value, all of them, flat and in the order in which they are written."""
        values = {name: getattr(self.data, name) for name in self.data.schema()}
        values["model"] = self.model
        for room in (self.hyper, self.training, self.evaluation):
            values |= {name: getattr(room, name) for name in room.schema()}
        return values

    def to_yaml(self) -> str:
        """As config.yaml has them, with the version that wrote it."""
        return to_yaml({VERSION_KEY: __version__, **{name: plain(value) for name, value in self.values().items()}})


@cache
def schema(model: str) -> Mapping[str, Option]:
    """Name -> option of everything that a run of ``model`` is told, in the order in which it is written.

    Raises:
        InputError: there is no such model.
    """
    rooms = (DataOptions, ModelChoice, find_model(model).Options, TrainingOptions, EvaluationOptions)
    options: dict[str, Option] = {}
    for room in rooms:
        twice = options.keys() & room.schema().keys()
        assert not twice, f"{model}: {', '.join(twice)} belongs to a room already; call it something else"
        options |= room.schema()
    return options


@cache
def _keys(model: str, in_file: bool) -> Mapping[str, str]:
    """Spelling in lower case -> option, ours and MMRec's."""
    return {
        alias.lower(): name
        for name, entry in schema(model).items()
        for alias in (*entry.mmrec, name)
        if in_file or entry.mmrec.get(alias) is None
    }


def option_named(key: str, models: Collection[str], *, in_file: bool = False) -> Option | None:
    """The option that a YAML key or a flag means to one of ``models``, the first that has it; None if none has.

    Args:
        in_file: whether it stands in a file that may be MMRec's, where some keys have values of another form.
    """
    for model in models:
        name = _keys(model, in_file).get(_spelled(key))
        if name is not None:
            return schema(model)[name]
    return None


def resolve_key(key: str, models: Collection[str], origin: str, *, in_file: bool = False) -> Option:
    """The same.

    Raises:
        InputError: there is none; the message names the models that have it, or the nearest option.
    """
    found = option_named(key, models, in_file=in_file)
    if found is not None:
        return found
    owners = [other for other in model_names() if option_named(key, (other,), in_file=in_file)]
    if owners:
        raise InputError(
            f"{origin}: {key} is an option of {' and '.join(owners)}, not of {' or '.join(models)}; leave it out, or "
            f"train with --model {owners[0]}"
        )
    known = {alias: name for model in models for alias, name in _keys(model, in_file).items()}
    near = difflib.get_close_matches(_spelled(key), known, n=1)
    hint = f"did you mean {known[near[0]]}?" if near else "see --help for all options"
    raise InputError(f"{origin}: unknown option {key}; {hint}")


def _spelled(key: str) -> str:
    return key.lower().replace("-", "_")


def make_config(options: Mapping[str, Any]) -> Config:
    """A configuration from option values; what is not named has its default.

    Raises:
        InputError: an option that does not exist or is another model's, or a value that it cannot have.
    """
    origin = "make_config"
    model = _model_in(options, origin) or DEFAULT_MODEL
    values = {}
    for key, value in options.items():
        entry = resolve_key(key, (model,), origin)
        values[entry.name] = convert(entry, value, origin)

    def of(room: type[Options]) -> Any:
        return room(**{name: values[name] for name in room.schema() if name in values})

    return Config(model, of(DataOptions), of(find_model(model).Options), of(TrainingOptions), of(EvaluationOptions))


def _model_in(options: Mapping[str, Any], origin: str) -> str | None:
    """The model that options name, if they do."""
    named = [value for key, value in options.items() if _spelled(key) == "model"]
    return convert(ModelChoice.schema()["model"], named[-1], origin).lower() if named else None  # MMRec writes LightGCN


def with_options(config: Config, **changes: Any) -> Config:
    """The configuration with some options changed, checked again."""
    return make_config({**config.values(), **changes})


def fixed_options(config: Config) -> dict[str, Any]:
    """The options that a run keeps, as JSON has them; its dataset is recognised by what is in it."""
    kept = {name: value for name, value in config.values().items() if name not in (*RESUMABLE_CHANGES, "dataset")}
    return {name: plain(value) for name, value in kept.items()}


def changed_options(then: Mapping[str, Any], now: Mapping[str, Any], *, without: Collection[str] = ()) -> list[Changed]:
    """The options that differ between two runs of one model, whose values may come from an older version's files."""
    earlier = {name: entry.earlier for name, entry in schema(str(now.get("model", DEFAULT_MODEL))).items()}
    return difference(then, now, defaults=earlier, without=without)


# ---------------------------------------------------------------------------------------------------------------------
# Files


@dataclass(frozen=True)
class FileOptions:
    """What a YAML file of options says.

    Attributes:
        options: option name -> value.
        grids: option name -> values that MMRec would try one by one.
        notes: lines about what was passed over.
    """

    options: dict[str, Any]
    grids: dict[str, tuple]
    notes: list[str]


def model_of_file(path: str | Path) -> str | None:
    """The model that a YAML file of options names, or is named after, as MMRec's are; None if it does neither."""
    named = _model_in(read_mapping(path), str(path))
    stem = Path(path).stem.lower()
    return named or (stem if stem in model_names() else None)


def read_options(path: str | Path, models: Collection[str], decided: Collection[str] = ()) -> FileOptions:
    """The options of a YAML file, ours or MMRec's own.

    Args:
        path: the file.
        models: whose options these may be; another model's are refused.
        decided: options that have a value already: whatever the file has for them, a grid say, is not looked at.

    Raises:
        InputError: not readable, not YAML, an unknown key or a value of the wrong type.
    """
    content, origin = read_mapping(path), str(path)
    content.pop(VERSION_KEY, None)
    tried = content.pop(GRIDS, None) or []
    if not isinstance(tried, list):
        raise InputError(f"{path}: {GRIDS}: {tried} is no list of keys")
    meaningless = PASSED_OVER.union(*(find_model(model).Options.mmrec_ignored for model in models))
    options: dict[str, Any] = {}
    grids: dict[str, tuple] = {}
    passed_over, files = [], {}
    for key, value in content.items():
        entry = option_named(key, models, in_file=True)
        if key in FEATURE_FILES:
            files[FEATURE_FILES[key]] = str(value)
        elif entry is None and key in meaningless:
            passed_over.append(key)
        elif entry is not None and entry.name in decided:
            continue
        else:
            entry = resolve_key(key, models, origin, in_file=True)
            if key in tried and isinstance(value, list) and len(value) > 1:
                into, found = grids, tuple(_value_of(entry, key, one, origin) for one in value)
            else:
                into, found = options, _value_of(entry, key, value, origin)
            if {**options, **grids}.get(entry.name, found) != found:
                raise InputError(
                    f"{path}: {key} sets {entry.name} to another value than the key before; keep one of the two"
                )
            into[entry.name] = found
    if files and "features" not in decided:
        options.setdefault("features", files)
    notes = [f"{path}: no meaning here, passed over: {', '.join(passed_over)}"] if passed_over else []
    for name, values in grids.items():
        notes.append(
            f"{path}: {name} is a grid of {len(values)} values, none of them chosen: python -m mde_fast.search "
            f"--config {path} tries them, a flag takes one"
        )
    return FileOptions(options, grids, notes)


def _value_of(entry: Option, key: str, value: Any, origin: str) -> Any:
    """The value that a YAML key gives an option."""
    if entry.name.endswith("_column") and isinstance(value, str):
        value = COLUMN_TYPE.sub("", value)
    translate = next((make for alias, make in entry.mmrec.items() if alias.lower() == _spelled(key)), None)
    if translate is not None:
        try:
            value = one_of(value)
        except ValueError as error:
            raise InputError(f"{origin}: {key}={value}: {error}") from None
        try:
            value = translate(value)
        except (TypeError, ValueError):
            raise InputError(f"{origin}: {key}={value}: needs a number") from None
    return convert(entry, value, origin)


def read_config(path: str | Path) -> tuple[Config, list[str]]:
    """The configuration that a run was written with, by this version or an older one.

    Returns:
        (configuration, notes): an option younger than the file is what was done without it, mostly its default, and a
        note says so.

    Raises:
        InputError: not readable, or an option is missing that the file's version had.
    """
    content = read_mapping(path)
    version = str(content.pop(VERSION_KEY, FIRST_VERSION))
    newer = f" (of mde_fast {version}, this is {__version__})" if _parts(version) > _parts(__version__) else ""
    origin = f"{path}{newer}"
    model = _model_in(content, origin) or DEFAULT_MODEL
    with _naming(origin):
        options = schema(model)
    missing, younger = [], []
    for name, entry in options.items():
        if name not in content:
            (younger if _parts(entry.since) > _parts(version) else missing).append(name)
    if missing:
        raise InputError(f"{origin}: lacks {', '.join(missing)}; it was cut off or edited, restore it")
    values = {}
    for key, value in content.items():
        if key not in options and _parts(version) < OLD_CONFIG and any(key in schema(other) for other in model_names()):
            continue  # it had no effect
        try:
            entry = resolve_key(key, (model,), origin)
        except InputError as error:
            raise InputError(f"{error}; if the file was edited, restore it") from None
        values[entry.name] = convert(entry, value, origin)
    notes = []
    for name in younger:
        entry = options[name]
        if entry.before is None:
            notes.append(f"{path}: older than {name}, which has its default {entry.default}")
        else:
            values[name] = entry.before
            notes.append(f"{path}: older than {name}, which stays {entry.before}")
    with _naming(origin):
        return make_config(values), notes


@contextmanager
def _naming(origin: str) -> Iterator[None]:
    """Say of what is wrong with a value in which file it stands."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None


def is_older(path: str | Path, version: str) -> bool:
    """Whether a YAML file of options was written by a version before ``version``."""
    return _parts(str(read_mapping(path).get(VERSION_KEY, FIRST_VERSION))) < _parts(version)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall("[0-9]+", version)[:3])
