"""Which data a run is trained on, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..options import Options, option, seed


def _check_ratios(value: tuple[float, ...]) -> str | None:
    good = len(value) == 3 and value[0] > 0 and min(value) >= 0 and abs(sum(value) - 1) < 1e-6
    return None if good else "needs three shares (train, valid, test) that add up to 1, e.g. 0.8,0.1,0.1"


@dataclass(frozen=True)
class DataOptions(Options):
    """What :func:`mde_fast.data.load_dataset` is told, and where finished graphs are kept."""

    owner: ClassVar[str] = "data"

    dataset: str = option("baby", "a name (baby, sports, clothing, or any folder under the data directory) or a path")
    data_dir: str | None = option(
        None,
        "where dataset folders are; otherwise $MDE_FAST_DATA, ./data, then the user's cache",
        mmrec=("data_path",),
    )
    features: dict[str, str] = option(
        {}, "feature files, e.g. image=image_feat.npy,text=text_feat.npy; default: found in the folder"
    )
    require_real: bool = option(False, "refuse to train on stand-in data or features")
    split: str = option("random", "how to split data that has no split", choices=("random", "temporal"))
    split_ratios: tuple[float, ...] = option(
        (0.8, 0.1, 0.1), "train, validation and test share of each user", check=_check_ratios
    )
    split_seed: int = option(0, "seed of a random split", check=seed)
    user_column: str | None = option(None, "user column of a table", mmrec=("USER_ID_FIELD",))
    item_column: str | None = option(None, "item column of a table", mmrec=("ITEM_ID_FIELD",))
    time_column: str | None = option(None, "timestamp column of a table", mmrec=("TIME_FIELD",))
    split_column: str | None = option(None, "split column of a table", mmrec=("inter_splitting_label",))
    cache_dir: str | None = option(
        None, "where finished graphs are kept; default: the user's cache; 'none' keeps nothing"
    )
