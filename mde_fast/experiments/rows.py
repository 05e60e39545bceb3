"""What is compared: the rows by name, and the experiments as lists of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.options import DataOptions
from ..models import DEFAULT_MODEL
from ..options import Option
from ..ranking.options import EvaluationOptions
from ..runs.config import Config, make_config, schema
from ..runs.presets import Preset, find_preset

REFERENCE = "mde"  # the row that every other one is compared with
TEXT_PREFERENCES = tuple(tenth / 10 for tenth in range(1, 10))  # c of variant A
FIXED = {f"fixed-{share}": share for share in TEXT_PREFERENCES}


@dataclass(frozen=True)
class Row:
    """Attributes:
    label: how reports call it.
    options: what makes it that row; nothing else may set them.
    published: the row of the published tables that it stands beside, if any.
    model: what it trains.
    """

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None
    model: str = DEFAULT_MODEL


DRAGON_LIKE = {
    "layer_combine": "sum",
    "fusion_nodes": "users",
    "item_graph": "blend",
    "modality_losses": False,
    "mda_weight": 0.0,
    "msa_weight": 0.0,
}

SYSTEMS = ("LightGCN", "VBPR", "MMGCN", "GRCN", "DualGNN", "SLMRec", "BM3", "FREEDOM", "DRAGON")  # beside MDE

ROWS = {
    "mde": Row("MDE", published="MDE"),
    "without-mda": Row("w/o MDA", {"mda_weight": 0.0}, published="w/o MDA"),
    "without-msa": Row("w/o MSA", {"msa_weight": 0.0}, published="w/o MSA"),
    "without-nlt": Row("w/o NLT", {"nlt": "none"}, published="w/o NLT"),
    **{name: Row(f"variant A, {share}", {"nlt": f"fixed:{share}"}) for name, share in FIXED.items()},
    "free": Row("variant B", {"nlt": "free"}),
    "dragon-like": Row("DRAGON-like", DRAGON_LIKE),
    **{label.lower(): Row(label, published=label, model=label.lower()) for label in SYSTEMS},
    "mde-halves": Row("MDE, tables in bf16", {"storage": "bf16"}),
    "mde-bf16": Row("MDE, bf16", {"precision": "bf16", "slow_precision": True}),
}


@dataclass(frozen=True)
class Experiment:
    """Attributes:
    title: heads its report.
    rows: names of what it compares, in the order of its report.
    question: asked of every row but the reference: whether what the paper says of it holds here.
    varies: options that are its subject, which the command line may not set.
    """

    title: str
    rows: tuple[str, ...]
    question: str = "below full MDE?"
    varies: tuple[str, ...] = ()


EXPERIMENTS = {
    "table1": Experiment("Table I: models", (*(label.lower() for label in SYSTEMS), "dragon-like", "mde")),
    "table2": Experiment("Table II: ablation", ("without-mda", "without-msa", "without-nlt", "mde")),
    "figure2": Experiment(
        "Figure 2: where the trade-off's weights come from", (*FIXED, "free", "mde"), varies=("nlt",)
    ),
    "precision": Experiment(
        "Precision: bf16 towers against float32", ("mde", "mde-bf16"), "below float32?", varies=("precision",)
    ),
    "storage": Experiment(
        "Storage: bf16 tables against float32", ("mde", "mde-halves"), "below float32?", varies=("storage",)
    ),
}


# Options that the command line may not set, whatever the experiment, and why.
REFUSED = {
    "seed": "every row is trained once for each of --seeds; give those",
    "model": "every row says which model it is; leave it out",
    "minutes": "every run is trained to its end; Ctrl-C saves, and the same command goes on",
}


SHARED = (DataOptions.owner, EvaluationOptions.owner)  # rooms whose options no row has for itself


def flag_of(option: Option, row: str) -> str:
    """The flag that sets an option of a row: of the row alone, where it can have one."""
    flag = option.name.replace("_", "-")
    return f"--{flag}" if option.owner in SHARED else f"--{row}.{flag}"


def refused_options(experiments: Iterable[str]) -> dict[str, str]:
    """Option -> why nothing but rows and the experiments themselves may set it."""
    subjects = {name: experiment for experiment in experiments for name in EXPERIMENTS[experiment].varies}
    return REFUSED | {name: f"{by} is about this option and sets it; leave it out" for name, by in subjects.items()}


def row_models(experiments: Iterable[str]) -> tuple[str, ...]:
    """The models that some experiments train, each once: the reference's first, whose presets can be named."""
    rows = [row for name in experiments for row in EXPERIMENTS[name].rows]
    return tuple(dict.fromkeys(ROWS[row].model for row in sorted(rows, key=lambda row: row != REFERENCE)))


@dataclass(frozen=True)
class Layers:
    """What rows have beside what makes them a row; the later wins: preset of the row's model, file, flags, flags of it.

    Attributes:
        dataset: whose presets count. preset: name of one, or a file; None for the dataset's own.
        searches: folder of searches, ``<model>/best.yaml`` in it instead of the model's preset; None for none.
        given: options of a file and of flags, for all rows whose model has them.
        of_row: row -> options given for it alone.
        refused: options that only rows and experiments set; of a preset they are passed over.
    """

    dataset: str
    preset: str | None
    given: Mapping[str, Any]
    of_row: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refused: Collection[str] = frozenset(REFUSED)
    searches: Path | None = None

    def preset_of(self, model: str) -> Preset:
        """The preset that rows of a model have, or the best options of its search.

        A preset that was named is the reference's; other models have their own.
        """
        named = self.preset if model == DEFAULT_MODEL else None
        if self.searches is not None and (best := self.searches / model / "best.yaml").is_file():
            named = str(best)
        preset = find_preset(self.dataset, named, model=model)
        options = {name: value for name, value in preset.options.items() if name not in self.refused}
        return replace(preset, options=options)


def row_config(layers: Layers, row: str, seed: int) -> Config:
    """All options of a run."""
    about, own = ROWS[row], schema(ROWS[row].model)
    of_reference = layers.preset_of(ROWS[REFERENCE].model).options
    options = {
        "dataset": layers.dataset,
        **{name: value for name, value in of_reference.items() if name in own and own[name].owner in SHARED},
        **layers.preset_of(about.model).options,
        **{name: value for name, value in layers.given.items() if name in own},
        **layers.of_row.get(row, {}),
    }
    return make_config({**options, **about.options, "model": about.model, "seed": seed})
