"""Every option with a value that is not its default, and options as the command line takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mde_fast.commands import Given, chosen_model, collect_options, make_parser, parse, resolve
from mde_fast.models import model_names
from mde_fast.options import shown
from mde_fast.runs.config import Config, make_config, schema

# As typed, and what it means. All differ from the defaults, of any model that has the option.
VALUES = {
    "dataset": ("my shop", "my shop"),
    "data_dir": ("/some/where", "/some/where"),
    "features": ("image=a.npy,text=b=c.npy", {"image": "a.npy", "text": "b=c.npy"}),
    "split_ratios": ("0.6,0.2,0.2", (0.6, 0.2, 0.2)),
    "split_seed": ("7", 7),
    "user_column": ("who", "who"),
    "item_column": ("what: exactly", "what: exactly"),
    "time_column": ("when", "when"),
    "split_column": ("part", "part"),
    "cache_dir": ("none", "none"),
    "embedding_size": ("32", 32),
    "projection_hidden": ("128", 128),
    "input_scale": ("0.5", 0.5),
    "n_layers": ("0", 0),
    "n_mm_layers": ("3", 3),
    "user_k": ("20", 20),
    "knn_k": ("5", 5),
    "blend_weights": ("0.3,0.7", (0.3, 0.7)),
    "nlt": ("fixed:0.25", "fixed:0.25"),
    "mda_weight": ("0", 0.0),
    "msa_weight": ("1e-3", 0.001),
    "temperature": (".07", 0.07),
    "reg_weight": ("1", 1.0),
    "epochs": ("3", 3),
    "minutes": ("90", 90.0),
    "stopping_step": ("4", 4),
    "train_batch_size": ("512", 512),
    "learning_rate": ("1e-3", 0.001),
    "seed": ("0", 0),
    "device": ("cuda:1", "cuda:1"),
    "feature_rank": ("auto:0.1", "auto:0.1"),
    "topk": ("1,100", (1, 100)),
    "valid_metric": ("NDCG@10", "NDCG@10"),
}
# Of what no line above names, such as the options of a new model: the first of these that may be, and is no default.
CANDIDATES = {int: (3, 5, 7), float: (0.25, 0.125, 0.0625), tuple[str, ...]: (("audio", "text"), ("text",))}


def _another(name: str) -> tuple[str, Any]:
    entries = [schema(model)[name] for model in model_names() if name in schema(model)]
    kind = entries[0].type
    candidates = (True, False) if kind is bool else entries[0].choices or CANDIDATES[kind]
    for value in candidates:
        if all(value != entry.default and not (entry.check and entry.check(value)) for entry in entries):
            return ({True: "yes", False: "no"}[value] if kind is bool else shown(value)), value
    if entries[0].choices is not None and len(entries[0].choices) == 1:  # there so that another value is refused
        return str(entries[0].choices[0]), entries[0].choices[0]
    raise AssertionError(f"{name}: no other value is known; write one above")


for _model in model_names():
    for _name in schema(_model):
        if _name not in VALUES:
            VALUES[_name] = _another(_name)

BAD_VALUES = {
    "epochs": ("0", "-1", "1.5", "ten", "", "true", "1,2", "inf"),
    "minutes": ("0", "-1", "soon", "nan"),
    "embedding_size": ("0",),
    "n_layers": ("-1", "two"),
    "user_k": ("0",),
    "knn_k": ("0",),
    "learning_rate": ("0", "-1", "fast", "nan", "inf"),
    "mda_weight": ("-0.1", "nan"),
    "reg_weight": ("-0.1", "inf"),
    "temperature": ("0",),
    "input_scale": ("0", "-1"),
    "seed": ("-1", "1.5", "9" * 30),
    "row_normalize": ("maybe", "2"),
    "split_ratios": ("0.8,0.1", "0.5,0.1,0.1", "0,0.5,0.5", "1.2,-0.1,-0.1", "a,b,c"),
    "topk": ("", "0", "5,0", "5,x"),
    "valid_metric": ("recall", "recall@", "recall@0", "hits@5", "recall@-1"),
    "nlt": ("fixed", "fixed:", "fixed:2", "fixed:-0.1", "fixed:nan", "fixed:x", "Preference"),
    "features": ("image", "image=", "=a.npy"),
    "feature_rank": (
        "none",
        "0",
        "-3",
        "1.5",
        "auto",
        "auto:",
        "auto:0",
        "auto:1",
        "auto:1e-7",
        "auto:nan",
        "exact:0.1",
    ),
}

# (model, option) of all but the option that chooses the model.
OPTIONS_OF_MODELS = [(model, name) for model in model_names() for name in schema(model) if name != "model"]


def defaults(model: str) -> dict[str, Any]:
    """Option name -> value of a run of a model for which nobody said anything."""
    return {**{name: entry.default for name, entry in schema(model).items()}, "model": model}


def config_of(model: str, **values: Any) -> Config:
    """A configuration with these values and defaults, made directly."""
    config = make_config({"model": model})
    rooms = {
        room: type(own)(**{**vars(own), **{name: value for name, value in values.items() if name in own.schema()}})
        for room in ("data", "hyper", "training", "evaluation")
        for own in (getattr(config, room),)
    }
    return Config(model, **rooms)


def spellings(model: str, name: str) -> list[str]:
    """The names under which an option takes its own values: not those of MMRec's that have to be translated."""
    return [name, *(alias for alias, translate in schema(model)[name].mmrec.items() if translate is None)]


def given_by(*arguments: str, paths: Iterable[Path] = ()) -> tuple[str, Given]:
    """The model of a command line with these ``--config`` files, and what it was told, as every command finds out."""
    typed = [*arguments, *(f"--config={path}" for path in paths)]
    models = (chosen_model(typed),)
    return models[0], collect_options(parse(make_parser("test", "Tests options."), typed, (), models), models)


def from_flags(*arguments: str, paths: Iterable[Path] = ()) -> Config:
    """The configuration of such a command line, without a preset."""
    _, given = given_by(*arguments, paths=paths)
    return resolve(given, "none")[1]
