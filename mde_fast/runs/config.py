"""Every option once: its default, its YAML key, its flag, its help and the values it may take.

Keys are MMRec's where MMRec has one. What the paper does not settle says so in its help ("our choice").
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Container
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError


def option(
    default: Any,
    help: str,
    *,
    group: str,
    aliases: tuple[str, ...] = (),
    choices: tuple | None = None,
    check: Callable[[Any], str | None] | None = None,
):
    """A field of :class:`Config`. ``check`` returns what is wrong with a value, or None."""
    metadata = {"help": help, "group": group, "aliases": aliases, "choices": choices, "check": check}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _at_least(low: float):
    return lambda value: None if value >= low else f"must be {low} or more"


def _check_seed(value: int) -> str | None:
    return None if 0 <= value < 2**63 else "must be 0 or more, and below 2 ** 63"


def _positive(value: float) -> str | None:
    return None if value > 0 else "must be greater than 0"


def _check_nlt(value: str) -> str | None:
    if value in ("preference", "none", "free"):
        return None
    kind, _, share = value.partition(":")
    try:
        if kind == "fixed" and 0 <= float(share) <= 1:
            return None
    except ValueError:
        pass
    return "choose preference, none, free, or fixed:C with C between 0 and 1"


def _check_topk(value: tuple[int, ...]) -> str | None:
    return None if value and all(k >= 1 for k in value) else "needs one or more cut-offs of 1 or more"


def _check_ratios(value: tuple[float, ...]) -> str | None:
    good = len(value) == 3 and value[0] > 0 and min(value) >= 0 and abs(sum(value) - 1) < 1e-6
    return None if good else "needs three shares (train, valid, test) that add up to 1, e.g. 0.8,0.1,0.1"


def _check_metric(value: str) -> str | None:
    name, _, cutoff = value.partition("@")
    good = name.lower() in ("recall", "precision", "map", "ndcg") and re.fullmatch("[1-9][0-9]*", cutoff)
    return None if good else "must be recall, precision, map or ndcg with a cut-off, e.g. recall@20"


DATA, MODEL, TRAINING, EVALUATION = "data", "model", "training", "evaluation"


@dataclass(frozen=True)
class Config:
    """The resolved options of a run."""

    dataset: str = option(
        "baby", "a name (baby, sports, clothing, or any folder under the data directory) or a path", group=DATA
    )
    data_dir: str | None = option(
        None,
        "where dataset folders are; otherwise $MDE_FAST_DATA, ./data, then the user's cache",
        group=DATA,
        aliases=("data_path",),
    )
    features: dict[str, str] = option(
        {}, "feature files, e.g. image=image_feat.npy,text=text_feat.npy; default: found in the folder", group=DATA
    )
    require_real: bool = option(False, "refuse to train on stand-in data or features", group=DATA)
    split: str = option("random", "how to split data that has no split", group=DATA, choices=("random", "temporal"))
    split_ratios: tuple[float, ...] = option(
        (0.8, 0.1, 0.1), "train, validation and test share of each user", group=DATA, check=_check_ratios
    )
    split_seed: int = option(0, "seed of a random split", group=DATA, check=_check_seed)
    user_column: str | None = option(None, "user column of a table", group=DATA, aliases=("USER_ID_FIELD",))
    item_column: str | None = option(None, "item column of a table", group=DATA, aliases=("ITEM_ID_FIELD",))
    time_column: str | None = option(None, "timestamp column of a table", group=DATA, aliases=("TIME_FIELD",))
    split_column: str | None = option(None, "split column of a table", group=DATA, aliases=("inter_splitting_label",))
    cache_dir: str | None = option(
        None, "where finished graphs are kept; default: the user's cache; 'none' keeps nothing", group=DATA
    )

    model: str = option(
        "mde", "model to train; lightgcn looks at behaviour alone", group=MODEL, choices=("mde", "lightgcn")
    )
    embedding_size: int = option(
        64, "d, dimensions of a modality's embedding", group=MODEL, aliases=("feat_embed_dim",), check=_at_least(1)
    )
    projection: str = option(
        "mlp", "item tower: Linear-LeakyReLU-Linear or one Linear", group=MODEL, choices=("mlp", "linear")
    )
    projection_hidden: int = option(256, "hidden width of the mlp tower", group=MODEL, check=_at_least(1))
    row_normalize: bool = option(True, "L2-normalise the rows of E(0) (inferred: eq. 6 needs it)", group=MODEL)
    input_scale: float = option(1.0, "multiplies E(0) after normalisation (our choice)", group=MODEL, check=_positive)
    n_layers: int = option(
        2, "L, LightGCN layers on the user-item graph", group=MODEL, aliases=("n_ui_layers",), check=_at_least(0)
    )
    layer_combine: str = option(
        "sum", "combine layers 0..L: the paper's mean (eq. 3), or DRAGON's sum", group=MODEL, choices=("mean", "sum")
    )
    user_k: int = option(40, "neighbours in the user co-occurrence graph", group=MODEL, check=_at_least(1))
    knn_k: int = option(10, "neighbours in each item-item graph", group=MODEL, aliases=("item_k",), check=_at_least(1))
    item_graph: str = option(
        "per_modality",
        "an item graph per modality (the paper), or DRAGON's weighted sum for all",
        group=MODEL,
        choices=("per_modality", "blend"),
    )
    blend_weights: tuple[float, ...] = option(
        (),
        "weight of each modality's graph under blend; default 0.1 for image and 0.9 for text, else equal",
        group=MODEL,
    )
    fusion: str = option(
        "concat",
        "eq. 5: concatenate or add the weighted modalities (inferred)",
        group=MODEL,
        choices=("concat", "sum"),
    )
    fusion_nodes: str = option(
        "all",
        "whose modalities are weighted: all nodes (the paper) or users (DRAGON)",
        group=MODEL,
        choices=("all", "users"),
    )
    preference_init: str = option(
        "xavier", "initial preferences W (our choice)", group=MODEL, choices=("xavier", "zero")
    )
    nlt: str = option(
        "preference",
        "eq. 8: preference; none = 1/2 everywhere; fixed:C = preference C for text everywhere (variant A); "
        "free = a free weight per node (variant B)",
        group=MODEL,
        check=_check_nlt,
    )
    nlt_detach: bool = option(True, "keep MDA and MSA from moving the preferences (our choice)", group=MODEL)
    mda: str = option(
        "row_l2", "form of eq. 6 (arrangement inferred)", group=MODEL, choices=("row_l2", "fro", "abs_cos")
    )
    msa: str = option("cosine", "form of eq. 7 (our choice)", group=MODEL, choices=("cosine", "infonce"))
    mda_weight: float = option(
        0.01, "a, coefficient of MDA; 0 leaves it out", group=MODEL, aliases=("a",), check=_at_least(0)
    )
    msa_weight: float = option(
        0.01, "b, coefficient of MSA; 0 leaves it out", group=MODEL, aliases=("b",), check=_at_least(0)
    )
    temperature: float = option(0.2, "tau of infonce", group=MODEL, aliases=("tau",), check=_positive)
    reg_weight: float = option(0.001, "lambda of eq. 11", group=MODEL, aliases=("lambda",), check=_at_least(0))
    modality_losses: bool = option(True, "eq. 10: BPR of each modality beside the fused one", group=MODEL)

    epochs: int = option(1000, "at most this many epochs", group=TRAINING, check=_at_least(1))
    stopping_step: int = option(
        20, "stop after this many evaluations without improvement", group=TRAINING, check=_at_least(1)
    )
    train_batch_size: int = option(
        2048, "triples in a step", group=TRAINING, aliases=("batch_size",), check=_at_least(1)
    )
    learning_rate: float = option(0.0001, "of Adam", group=TRAINING, aliases=("lr",), check=_positive)
    seed: int = option(999, "of everything that is drawn", group=TRAINING, check=_check_seed)
    device: str = option("auto", "auto, cpu, cuda or cuda:N", group=TRAINING)
    precision: str = option(
        "fp32",
        "of the feature towers' matrix products; the rest is float32",
        group=TRAINING,
        choices=("fp32", "tf32", "bf16"),
    )
    cuda_graph: bool = option(True, "on a GPU, replay the training step as one CUDA graph", group=TRAINING)

    topk: tuple[int, ...] = option((5, 10, 20, 50), "cut-offs to report", group=EVALUATION, check=_check_topk)
    valid_metric: str = option("recall@20", "selects the best epoch", group=EVALUATION, check=_check_metric)

    def __post_init__(self):
        for entry in fields(self):
            value, choices, check = getattr(self, entry.name), entry.metadata["choices"], entry.metadata["check"]
            if choices is not None and value not in choices:
                raise InputError(f"{entry.name}: {value!r} is not one of {', '.join(map(str, choices))}")
            problem = check(value) if check is not None and value is not None else None
            if problem:
                raise InputError(f"{entry.name}: {_show(value)} {problem}")

    def to_yaml(self) -> str:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _show(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# Keys of MMRec's own files that mean nothing here, or are fixed: read and passed over, with a line that says so.
MMREC_ONLY = frozenset(
    [
        "gpu_id",
        "use_gpu",
        "filter_out_cod_start_users",
        "is_multimodal_model",
        "checkpoint_dir",
        "save_recommended_topk",
        "recommend_topk",
        "weight_decay",
        "req_training",
        "learner",
        "learning_rate_scheduler",
        "eval_step",
        "training_neg_sample_num",
        "use_neg_sampling",
        "use_full_sampling",
        "NEG_PREFIX",
        "field_separator",
        "metrics",
        "eval_batch_size",
        "use_raw_features",
        "max_txt_len",
        "max_img_size",
        "vocab_size",
        "type_vocab_size",
        "hidden_size",
        "pad_token_id",
        "max_position_embeddings",
        "layer_norm_eps",
        "hidden_dropout_prob",
        "end2end",
        "hyper_parameters",
        "inter_file_name",
        "user_graph_dict_file",
        "n_mm_layers",
        "aggr_mode",
    ]
)
MMREC_COLUMN_TYPE = re.compile(r":(token|float)(_seq)?$")  # written behind a column's name
MMREC_FEATURE_FILES = {"vision_feature_file": "image", "text_feature_file": "text"}

OPTIONS = {entry.name: entry for entry in fields(Config)}
TYPES = typing.get_type_hints(Config)
KEYS = {name.lower(): name for name in OPTIONS} | {
    alias.lower(): name for name, entry in OPTIONS.items() for alias in entry.metadata["aliases"]
}


def default_of(name: str) -> Any:
    entry = OPTIONS[name]
    return entry.default if entry.default is not MISSING else entry.default_factory()


def _named_by(key: str) -> str | None:
    return KEYS.get(key.lower().replace("-", "_"))


def resolve_key(key: str, origin: str) -> str:
    """The option that a YAML key or a flag means.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    name = _named_by(key)
    if name is None:
        near = difflib.get_close_matches(key.lower().replace("-", "_"), KEYS, n=1)
        hint = f"did you mean {KEYS[near[0]]}?" if near else "see --help for all options"
        raise InputError(f"{origin}: unknown option {key}; {hint}")
    return name


def convert(name: str, value: Any, origin: str) -> Any:
    """A value as it stands in YAML or on the command line, as the option's type.

    Raises:
        InputError: it is not of that type.
    """
    kind = TYPES[name]
    optional = isinstance(kind, types.UnionType)
    if optional:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if value is None:
            return None
    container = typing.get_origin(kind)
    try:
        if container is dict:
            return _to_mapping(value)
        if container is tuple:
            value = value.split(",") if isinstance(value, str) else value
            parts = value if isinstance(value, (list, tuple)) else [value]
            element = typing.get_args(kind)[0]
            return tuple(_to_scalar(element, part) for part in parts if part != "")
        return _one_value(kind, value)
    except ValueError as error:
        raise InputError(f"{origin}: {name}={value}: {error}") from None


def _one_value(kind: type, value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:  # MMRec writes grids; a grid of one is a value
        value = value[0]
    if isinstance(value, list):
        raise ValueError("needs one value, not a list; run once for each")
    return _to_scalar(kind, value)


def _to_scalar(kind: type, value: Any) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError("needs true or false")
    if kind in (int, float):
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
    if value is None:
        raise ValueError("needs a value")
    return str(value)


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


def read_yaml(path: str | Path, decided: Container[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """The options of a YAML file, MMRec's names understood.

    Args:
        path: the file.
        decided: options that have a value already: whatever the file has for them, a grid say, is not looked at.

    Returns:
        (options, notes): option name -> value, and lines about keys that were passed over.

    Raises:
        InputError: not readable, not YAML, an unknown key or a value of the wrong type.
    """
    options, passed_over, feature_files = {}, [], {}
    for key, value in read_mapping(path).items():
        key = str(key)
        if key in MMREC_FEATURE_FILES:
            feature_files[MMREC_FEATURE_FILES[key]] = str(value)
        elif key in MMREC_ONLY:
            passed_over.append(key)
        elif _named_by(key) not in decided:
            name, value = _option_of(key, value, str(path))
            if options.get(name, value) != value:
                raise InputError(f"{path}: {key} sets {name} to another value than the key before; keep one of the two")
            options[name] = value
    if feature_files:
        options.setdefault("features", feature_files)
    notes = [f"{path}: no meaning here, passed over: {', '.join(passed_over)}"] if passed_over else []
    return options, notes


def _option_of(key: str, value: Any, origin: str) -> tuple[str, Any]:
    """The option that a YAML key sets, and its value."""
    if key.lower() == "mm_image_weight":
        try:
            image = _one_value(float, value)
        except ValueError as error:
            raise InputError(f"{origin}: {key}={value}: {error}") from None
        return "blend_weights", (image, 1 - image)
    name = resolve_key(key, origin)
    if name.endswith("_column") and isinstance(value, str):
        value = MMREC_COLUMN_TYPE.sub("", value)
    return name, convert(name, value, origin)


class _UniqueKeys(yaml.SafeLoader):
    """YAML forbids a key that comes twice; PyYAML takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise InputError(f"{key.value} is written {keys.count(key.value)} times; keep one of them")
        return super().construct_mapping(node, deep)


def read_mapping(path: str | Path) -> dict[Any, Any]:
    """The keys and values of a YAML file; none if it is empty.

    Raises:
        InputError: not readable, not YAML, or not a mapping.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give the path of a YAML file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise InputError(f"{path}: not valid YAML{line}; write one 'key: value' a line") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping; write one 'key: value' a line")
    return content


def make_config(options: dict[str, Any]) -> Config:
    """A configuration from option values; what is not named has its default.

    Raises:
        InputError: an option that does not exist, or a value that it cannot have.
    """
    names = {key: resolve_key(key, "make_config") for key in options}
    return Config(**{name: convert(name, options[key], "make_config") for key, name in names.items()})


def with_options(config: Config, **changes: Any) -> Config:
    """The configuration with some options changed, checked again."""
    return replace(config, **changes)
