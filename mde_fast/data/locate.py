"""Where data sets lie: from what the user typed to a folder or a file, and from a folder to its interactions."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ..errors import InputError
from ..files.places import user_cache, user_path
from .compression import bare_name, ending, is_compressed
from .reading import listed, reading
from .stand_in import DISTRIBUTED_AT, STAND_IN_SIZES, bring_real_data_command

TABLES = (".csv", ".tsv", ".parquet")
FILES = (".inter", *TABLES)
DATA_VARIABLE = "MDE_FAST_DATA"


class DatasetNotFound(InputError):
    """No folder of that name lies in any place that was searched."""


def roots(data_dir: str | Path | None) -> list[Path]:
    """Folders that are searched for data sets, in order: ``data_dir``, $MDE_FAST_DATA, ./data, the user's cache.

    Raises:
        InputError: ``data_dir`` is given and no folder, or a path starts at a home folder that is not known.
    """
    searched = []
    if data_dir is not None:
        searched.append(user_path(data_dir, "--data-dir"))
        if not os.path.isdir(searched[0]):
            raise InputError(f"{data_dir}: no such folder (--data-dir); create it or correct the path")
    if os.environ.get(DATA_VARIABLE):
        searched.append(user_path(os.environ[DATA_VARIABLE], f"${DATA_VARIABLE}"))
    cache = user_cache()
    return [*searched, Path("data"), *([] if cache is None else [cache / "data"])]


def find_dataset(dataset: str | os.PathLike, data_dir: str | Path | None = None) -> Path:
    """The folder or file that ``dataset`` means.

    What has a slash or the ending of a data file is a path. Anything else is a name, looked up in ``roots(data_dir)``
    and then among the data set folders of the current one.

    Raises:
        DatasetNotFound: a name that no searched place has.
        InputError: a path where nothing is, or ``data_dir`` is no folder.
    """
    searched = roots(data_dir)
    text = os.fspath(dataset)
    path = user_path(text, "--dataset")
    if not text:
        raise InputError("the name of the dataset is empty (--dataset); give a name or a path")
    if not isinstance(dataset, str) or path.name != text or text == ".." or ending(path) in FILES:
        if not os.path.exists(path):
            raise InputError(
                f"{dataset}: no such file or folder (--dataset); correct the path, or to evaluate, inspect or resume a "
                f"run give --data-dir FOLDER-THAT-NOW-HOLDS-IT, the one in which {path.name} lies"
            )
        return path
    for root in searched:
        if os.path.isdir(root / text):
            return root / text
    if os.path.isdir(path) and _is_dataset(path):
        return path

    known = sorted({folder.name for root in searched for folder in _datasets_in(root)})
    close = difflib.get_close_matches(text, [*known, *STAND_IN_SIZES], 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if text in STAND_IN_SIZES:
        command = bring_real_data_command(text, None if data_dir is None else searched[0] / text)
        hint = f"; or bring the real data, linked from {DISTRIBUTED_AT}: {command}"
    places = ", ".join(f"{root}" if os.path.isdir(root) else f"{root} (no such folder)" for root in searched)
    raise DatasetNotFound(
        f"dataset {text!r} not found; looked in {places}; datasets there: {listed(known) or 'none'}; "
        f"where it lies elsewhere give --data-dir FOLDER-THAT-NOW-HOLDS-IT{hint}"
    )


def interactions_file(place: Path, feature_files: frozenset[Path] = frozenset()) -> Path:
    """The file that tells the form of a data set: an ``.inter``, a ``.txt`` of LightGCN's form, or a table.

    Compressed files count where there is no other.

    Args:
        place: a folder, or such a file, which is its own answer.
        feature_files: tables that are no interactions.

    Raises:
        InputError: a folder has none, or several and none that stands out.
    """
    if not place.is_dir():
        return place
    with reading(place):
        files = sorted(file for file in place.iterdir() if file.is_file())
    for compressed in (False, True):
        found = _choose([file for file in files if is_compressed(file) == compressed], place, feature_files)
        if found is not None:
            return found
    raise InputError(
        f"{place}: no interactions among its files ({listed([file.name for file in files]) or 'none'}); it needs "
        f"{place.resolve().name}.inter, or train.txt and test.txt, or all.txt, or interactions.csv or .parquet"
    )


def _choose(files: list[Path], place: Path, feature_files: frozenset[Path]) -> Path | None:
    """The one of ``files`` that holds the interactions of the folder ``place``, None if none may."""
    inters = [file for file in files if ending(file) == ".inter"]
    own = [file for file in inters if bare_name(file) == place.resolve().name]
    if len(own or inters) > 1:
        raise InputError(f"{place}: several .inter files ({listed([file.name for file in inters])}); name one")
    texts = [file for name in ("train.txt", "all.txt") for file in files if file.name == name]
    if own or inters or texts:
        return (own or inters or texts)[0]
    tables = [file for file in files if ending(file) in TABLES and file not in feature_files]
    named = [file for file in tables if bare_name(file) == "interactions"]
    candidates = named[:1] or tables
    if len(candidates) > 1:
        several = listed([file.name for file in tables])
        raise InputError(f"{place}: several tables ({several}); call one interactions.csv or name it")
    return candidates[0] if candidates else None


def _is_dataset(folder: Path) -> bool:
    try:
        interactions_file(folder)
    except InputError:
        return False
    return True


def _datasets_in(root: Path) -> list[Path]:
    try:
        return [folder for folder in root.iterdir() if folder.is_dir() and _is_dataset(folder)]
    except OSError:
        return []
