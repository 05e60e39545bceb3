"""What is compared: the rows by name, and the experiments as lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..runs.config import Config
from ..runs.presets import find_preset

REFERENCE = "mde"  # the row that every other one is compared with
TEXT_PREFERENCES = tuple(tenth / 10 for tenth in range(1, 10))  # c of variant A
FIXED = {f"fixed-{share}": share for share in TEXT_PREFERENCES}


@dataclass(frozen=True)
class Row:
    """Attributes:
    label: how reports call it.
    options: what it sets; all other options are those of the command line.
    published: the row of the published tables that it stands beside, if any.
    """

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None


DRAGON_LIKE = {
    "layer_combine": "sum",
    "fusion_nodes": "users",
    "item_graph": "blend",
    "modality_losses": False,
    "mda_weight": 0.0,
    "msa_weight": 0.0,
}

LIGHTGCN = {"model": "lightgcn", **find_preset("", "lightgcn").options}

ROWS = {
    "mde": Row("MDE", published="MDE"),
    "without-mda": Row("w/o MDA", {"mda_weight": 0.0}, published="w/o MDA"),
    "without-msa": Row("w/o MSA", {"msa_weight": 0.0}, published="w/o MSA"),
    "without-nlt": Row("w/o NLT", {"nlt": "none"}, published="w/o NLT"),
    **{name: Row(f"variant A, {share}", {"nlt": f"fixed:{share}"}) for name, share in FIXED.items()},
    "free": Row("variant B", {"nlt": "free"}),
    "dragon-like": Row("DRAGON-like", DRAGON_LIKE, published="DRAGON"),
    "lightgcn": Row("LightGCN", LIGHTGCN, published="LightGCN"),
    "mde-bf16": Row("MDE, bf16", {"precision": "bf16"}),
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
    "table1": Experiment("Table I: models", ("lightgcn", "dragon-like", "mde")),
    "table2": Experiment("Table II: ablation", ("without-mda", "without-msa", "without-nlt", "mde")),
    "figure2": Experiment(
        "Figure 2: where the trade-off's weights come from", (*FIXED, "free", "mde"), varies=("nlt",)
    ),
    "precision": Experiment(
        "Precision: bf16 towers against float32", ("mde", "mde-bf16"), "below float32?", varies=("precision",)
    ),
}


# Options that the command line may not set, whatever the experiment, and why.
REFUSED = {
    "seed": "every row is trained once for each of --seeds; give those",
    "model": "every row says which model it is; leave it out",
}


def row_config(options: Mapping[str, Any], row: str, seed: int) -> Config:
    """All options of a run: the row's own win over ``options``, those of the command line."""
    return Config(**{**options, **ROWS[row].options, "seed": seed})
