"""``load_dataset``: any source of data -> one InteractionDataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .columns import ColumnNames
from .dataset import InteractionDataset
from .features import discover, load_features
from .lightgcn_text import read_text_folder
from .locate import FILES, TABLES, DatasetNotFound, find_dataset, interactions_file
from .mmrec_folder import read_inter
from .reading import reading
from .split import SplitRule
from .table import read_table


def load_dataset(
    dataset: str | Path,
    *,
    data_dir: str | Path | None = None,
    features: Mapping[str, str | Path] | None = None,
    split: str = "random",
    split_ratios: Sequence[float] = (0.8, 0.1, 0.1),
    split_seed: int = 0,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    split_column: str | None = None,
    require_real: bool = False,
    use_features: bool = True,
) -> InteractionDataset:
    """Read interactions and item features.

    ``dataset`` is a path, or a name that is looked up as a folder in ``data_dir``, $MDE_FAST_DATA, ./data and
    ~/.cache/mde_fast/data. It leads to one of three forms:

    - MMRec: ``<name>.inter``, tab separated with user, item and x_label; ids are row numbers.
    - LightGCN: ``train.txt`` and ``test.txt`` (``valid.txt``), or ``all.txt``, lines ``user item item ...``; ids are
      row numbers.
    - A table: ``interactions.csv`` or ``.parquet``, ids of any type; rows follow the sorted unique ids.

    Features are the ``<modality>_feat.npy`` beside the interactions (image, text, then the others by name); failing
    them, every 2-D ``.npy`` of the folder with exactly one row per item is a modality. Row i of a ``.npy`` is item row
    i: the item id itself in the first two forms, the i-th of the sorted unique item ids of a table, where a note shows
    the order and surplus rows are refused. Parquet features are matched by item id.

    Where data is missing a stand-in takes its place, and the dataset's ``data`` says so: whole for ``baby``, ``sports``
    and ``clothing``, features alone for interactions without any.

    Args:
        dataset: name, folder or file.
        data_dir: first place to look for a name.
        features: modality -> ``.npy`` or ``.parquet`` file, relative to the dataset's folder or absolute, in place of
            those found there.
        split: ``random`` or ``temporal``, where the data has no split of its own.
        split_ratios: (train, valid, test) shares per user, sum 1.
        split_seed: of the random split.
        user_column, item_column, time_column, split_column: names of columns that are not found by themselves; text
            files of LightGCN's form have none.
        require_real: raise where a stand-in would be used.
        use_features: whether to read (or stand in for) features; without, the dataset has none.

    Returns:
        The dataset, its ``notes`` saying what was dropped, split or ignored.

    Raises:
        InputError: anything given cannot be used; one line says what and how to correct it.
    """
    rule = SplitRule(split, tuple(split_ratios), split_seed)
    columns = ColumnNames(user_column, item_column, time_column, split_column)
    try:
        place = find_dataset(dataset, data_dir)
    except DatasetNotFound as error:
        return _stand_in(str(dataset), data_dir, error, real=require_real or bool(features), use_features=use_features)

    folder = place if place.is_dir() else place.parent
    feature_files = {modality: folder / Path(file).expanduser() for modality, file in (features or {}).items()}
    source = interactions_file(place, frozenset(feature_files.values()))
    name = folder.resolve().name if place.is_dir() or source.suffix == ".txt" else place.stem
    read = _read(source, name, rule, columns)
    if not use_features:
        return read
    found = ()
    if features:
        _require_files(features, folder)
    else:
        # Beside a table that was named itself, arrays may have nothing to do with it.
        any_array = place.is_dir() or source.suffix == ".inter"
        feature_files, found = discover(folder, read.num_items, any_array=any_array)
    if feature_files:
        of_table = source.suffix in TABLES
        matrices, notes = load_features(feature_files, read.num_items, read.item_ids, columns, of_table=of_table)
        return replace(read, features=matrices, notes=(*read.notes, *found, *notes))
    if require_real:
        raise InputError(
            f"{folder}: no item features; add image_feat.npy and text_feat.npy, or name files with --features"
        )
    from .stand_in import with_stand_in_features

    return with_stand_in_features(read, folder, mmrec_form=source.suffix == ".inter")


def _require_files(features: Mapping[str, str | Path], folder: Path) -> None:
    """Refuse a feature file that is not there, with the path it was looked for and the one to give instead."""
    for modality, file in features.items():
        given = Path(file).expanduser()
        with reading(folder / given):
            if (folder / given).exists():
                continue
            remedy = "correct it"
            if given.exists():
                remedy = f"give {modality}={os.path.relpath(given, folder)}"
        raise InputError(
            f"{folder / given}: cannot be read: No such file or directory (--features {modality}={file}); a path is "
            f"relative to the dataset's folder {folder}, or absolute: {remedy}"
        )


def _read(source: Path, name: str, rule: SplitRule, columns: ColumnNames) -> InteractionDataset:
    """The interactions of ``source`` by its form, without features."""
    if source.suffix == ".inter":
        return read_inter(source, name, rule, columns)
    if source.suffix in TABLES:
        return read_table(source, name, rule, columns)
    if source.suffix != ".txt":
        raise InputError(f"{source}: form not known from its ending; use {', '.join(FILES)} or a folder")
    return read_text_folder(source.parent, name, rule)


def _stand_in(
    name: str, data_dir: str | Path | None, not_found: DatasetNotFound, *, real: bool, use_features: bool
) -> InteractionDataset:
    """The stand-in called ``name``; ``not_found`` again if there is none or ``real`` data is wanted."""
    from .stand_in import STAND_IN_SIZES, stand_in_dataset

    if real or name not in STAND_IN_SIZES:
        raise not_found
    made = stand_in_dataset(name, None if data_dir is None else Path(data_dir) / name)
    return made if use_features else replace(made, features={})
