"""``load_dataset``: any source of data -> one InteractionDataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .columns import ColumnNames
from .compression import COMPRESSIONS, bare_name, ending
from .dataset import InteractionDataset
from .features import discover, load_features
from .given_features import feature_paths, given_sources
from .lightgcn_text import read_text_folder
from .locate import FILES, TABLES, DatasetNotFound, find_dataset, interactions_file
from .mmrec_folder import read_inter
from .split import SplitRule
from .table import read_table
from .typed_tables import KINDS_IN_MEMORY, TableInMemory, is_table_in_memory


def load_dataset(
    dataset: str | os.PathLike | Any,
    *,
    name: str | None = None,
    data_dir: str | Path | None = None,
    features: Mapping[str, str | Path | Any] | None = None,
    split: str = "random",
    split_ratios: Sequence[float] = (0.8, 0.1, 0.1),
    split_seed: int = 0,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    split_column: str | None = None,
    require_real: bool = False,
    use_features: bool = True,
    map_features: bool = False,
) -> InteractionDataset:
    """Read interactions and item features.

    ``dataset`` is a path, or a name that is looked up as a folder in ``data_dir``, $MDE_FAST_DATA, ./data and
    ~/.cache/mde_fast/data; or a table in memory. It leads to one of three forms:

    - MMRec: ``<name>.inter``, tab separated with user, item and x_label; ids are row numbers.
    - LightGCN: ``train.txt`` and ``test.txt`` (``valid.txt``), or ``all.txt``, lines ``user item item ...``; ids are
      row numbers.
    - A table: ``interactions.csv`` or ``.parquet``, or a DataFrame of pandas or Polars or a table of Arrow; ids of any
      type; rows follow the sorted unique ids.

    The texts, ``.inter``, ``.csv`` and ``.tsv``, may be compressed: ``.csv.gz``, ``.zst``, ``.bz2``.

    Features are the ``<modality>_feat.npy`` beside the interactions (image, text, then the others by name); failing
    them, every 2-D ``.npy`` of the folder with exactly one row per item is a modality. Row i of a ``.npy`` is item row
    i: the item id itself in the first two forms, the i-th of the sorted unique item ids of a table, where a note shows
    the order and surplus rows are refused. Features in Parquet or in a table in memory are matched by item id.

    Where data is missing a stand-in takes its place, and the dataset's ``data`` says so: whole for ``baby``, ``sports``
    and ``clothing``, features alone for interactions without any.

    Args:
        dataset: name, folder, file or table.
        name: what the dataset is to be called; a table in memory needs it, files and folders have one of their own.
        data_dir: first place to look for a name.
        features: modality -> ``.npy`` or ``.parquet`` file, or a table in memory, in place of those found beside the
            dataset. Paths are relative to its folder (for a table in memory the current one), or absolute.
        split: ``random`` or ``temporal``, where the data has no split of its own.
        split_ratios: (train, valid, test) shares per user, sum 1.
        split_seed: of the random split.
        user_column, item_column, time_column, split_column: names of columns that are not found by themselves; text
            files of LightGCN's form have none.
        require_real: raise where a stand-in would be used.
        use_features: whether to read (or stand in for) features; without, the dataset has none.
        map_features: leave those of ``.npy`` files there, mapped: processes of a machine share one copy in memory. The
            files must not change meanwhile.

    Returns:
        The dataset, its ``notes`` saying what was dropped, split or ignored.

    Raises:
        InputError: anything given cannot be used; one line says what and how to correct it.
    """
    rule = SplitRule(split, tuple(split_ratios), split_seed)
    columns = ColumnNames(user_column, item_column, time_column, split_column)
    features = features or {}
    place: Path | None = None
    if isinstance(dataset, (str, os.PathLike)):
        try:
            place = find_dataset(dataset, data_dir)
        except DatasetNotFound as error:
            real = require_real or bool(features)
            made = _stand_in(str(dataset), data_dir, error, real=real, use_features=use_features)
            return replace(made, name=name or made.name)
        source = interactions_file(place, feature_paths(features, _folder(place)))
        name = name or _name(place, source)
    else:
        source = _in_memory(dataset, name)
        name = str(source.path)
    read = _read(source, name, rule, columns)
    if use_features:
        read = _with_features(read, source, place, features, columns, require_real=require_real, mapped=map_features)
    return replace(read, notes=(*read.notes, *_empty_rows(read)))


def _folder(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _name(place: Path, source: Path) -> str:
    """What the user calls the data at ``place`` that lie in ``source``."""
    return _folder(place).resolve().name if place.is_dir() or source.suffix == ".txt" else bare_name(place)


def _in_memory(table: Any, name: str | None) -> TableInMemory:
    if not is_table_in_memory(table):
        raise InputError(f"dataset of type {type(table).__name__}: give a name, a path, or {KINDS_IN_MEMORY}")
    if not name:
        raise InputError(f"dataset of type {type(table).__name__}: has no name of its own; give name=...")
    return TableInMemory(table, name)


def _read(source: Path | TableInMemory, name: str, rule: SplitRule, columns: ColumnNames) -> InteractionDataset:
    """The interactions of ``source`` by its form, without features."""
    if isinstance(source, TableInMemory) or ending(source) in TABLES:
        return read_table(source, name, rule, columns)
    if ending(source) == ".inter":
        return read_inter(source, name, rule, columns)
    if source.suffix != ".txt":
        compressed = ", ".join(COMPRESSIONS)
        raise InputError(
            f"{source}: form not known from its ending; use {', '.join(FILES)} (texts may be compressed: {compressed}) "
            "or a folder"
        )
    return read_text_folder(source.parent, name, rule)


def _with_features(
    read: InteractionDataset,
    source: Path | TableInMemory,
    place: Path | None,
    features: Mapping[str, Any],
    columns: ColumnNames,
    *,
    require_real: bool,
    mapped: bool,
) -> InteractionDataset:
    """The interactions that were read from ``source`` with ``features``, else those found beside it, else made up ones.

    Args:
        place: the folder or file that the user named; None for a table in memory, which has nothing beside it.
    """
    folder = Path() if place is None else _folder(place)
    form = ending(source) if isinstance(source, Path) else ".table"
    sources, found = given_sources(features, folder), ()
    if place is not None and not features:
        # Beside a table that was named itself, arrays may have nothing to do with it.
        sources, found = discover(folder, read.num_items, any_array=place.is_dir() or form == ".inter")
    if sources:
        of_table = form not in (".inter", ".txt")
        matrices, notes = load_features(
            sources, read.num_items, read.item_ids, columns, of_table=of_table, mapped=mapped
        )
        return replace(read, features=matrices, notes=(*read.notes, *found, *notes))
    if require_real:
        advice = "give features={modality: file or table}"
        if place is not None:
            advice = "add image_feat.npy and text_feat.npy, or name files with --features"
        raise InputError(f"{read.name if place is None else folder}: no item features; {advice}")
    from .stand_in import with_stand_in_features

    return with_stand_in_features(read, folder if place else None, mmrec_form=form == ".inter")


def _empty_rows(dataset: InteractionDataset) -> tuple[str, ...]:
    """The note, if one is due, on items of which nothing is known: ids that are row numbers may leave out some."""
    empty = dataset.items_without_interactions
    if empty.any():
        empty = empty & ~dataset.items_with_content
    if not empty.any():
        return ()
    rows = f"{np.count_nonzero(empty):,} of {dataset.num_items:,} item rows"
    return (f"{rows} have neither interactions nor features of their own; these are never recommended",)


def _stand_in(
    name: str, data_dir: str | Path | None, not_found: DatasetNotFound, *, real: bool, use_features: bool
) -> InteractionDataset:
    """The stand-in called ``name``; ``not_found`` again if there is none or ``real`` data is wanted."""
    from .stand_in import STAND_IN_SIZES, stand_in_dataset

    if real or name not in STAND_IN_SIZES:
        raise not_found
    made = stand_in_dataset(name, None if data_dir is None else Path(data_dir) / name)
    return made if use_features else replace(made, features={})
