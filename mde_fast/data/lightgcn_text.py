"""LightGCN's text files: a line is a user and all its items, ``user item item ...``, and ids are row numbers."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np

from ..errors import InputError
from .dataset import InteractionDataset, Split
from .reading import reading, shown
from .row_ids import REMEDY, count_rows
from .split import SplitRule

_IS_SPACE = np.zeros(256, dtype=bool)
_IS_SPACE[list(b" \t\r\n")] = True
_IS_NUMBER = np.zeros(256, dtype=bool)
_IS_NUMBER[list(b"-0123456789")] = True
_LONGEST = 18  # characters that surely fit 64 bits


def read_text_folder(folder: Path, name: str, rule: SplitRule) -> InteractionDataset:
    """Read ``train.txt``, ``test.txt`` and, where there is one, ``valid.txt``; or ``all.txt`` alone.

    Without ``valid.txt``, ``rule`` draws the validation part from training, in the proportion of its train and valid
    ratios; it splits ``all.txt`` whole. A user may have no items.

    Raises:
        InputError: a file or a token cannot be used, or the split is to be temporal (the form has no times).
    """
    files = {part: folder / f"{part}.txt" for part in ("train", "valid", "test")}
    if not files["train"].exists():
        files = {"all": folder / "all.txt"}
    elif not files["test"].exists():
        raise InputError(f"{folder}: has train.txt but no test.txt; add it, or name the one file all.txt")
    elif not files["valid"].exists():
        del files["valid"]
    if rule.temporal and "valid" not in files:
        raise InputError(f"{folder}: a temporal split needs times, which these files have not; use --split random")

    read = {part: _read_lines(path) for part, path in files.items()}
    num_users = max(users for _, users, _ in read.values())
    num_items = max(items for _, _, items in read.values())
    splits, notes = {part: pairs for part, (pairs, _, _) in read.items()}, rule.unused("valid.txt and test.txt")
    if "all" in files:
        splits, notes = rule.apply(splits["all"]), (f"split: none in all.txt; made one: {rule}",)
    elif "valid" not in files:
        share = rule.without_test()
        splits = {**share.apply(splits["train"]), "test": splits["test"]}
        notes = (f"split: no valid.txt; validation drawn from train.txt: {share}",)
    return InteractionDataset.build(name, splits, num_users=num_users, num_items=num_items, notes=notes)


def _read_lines(path: Path) -> tuple[Split, int, int]:
    """Pairs of one file, and the number of users and of items that its ids need."""
    with reading(path):
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    characters = np.frombuffer(content, dtype=np.uint8)
    inside = ~_IS_SPACE[characters]
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) == 0:
        raise InputError(f"{path}: row 1: empty; write one line per user: user item item ...")

    # Everything is a run of digits and spaces, minus signs aside, before the fast parser sees it.
    odd = inside & ~_IS_NUMBER[characters]
    odd[1:] |= (characters[1:] == ord("-")) & inside[:-1]
    odd[ends - 1] |= characters[ends - 1] == ord("-")
    odd[starts] |= ends - starts > _LONGEST
    if odd.any():
        place = int(np.argmax(odd))
        token = int(np.searchsorted(starts, place, side="right")) - 1
        text = content[starts[token] : ends[token]].decode(errors="replace")
        line = content.count(b"\n", 0, place) + 1
        raise InputError(f"{path}: row {line}: {shown(text)} is not an integer id; {REMEDY}")

    ids = np.fromstring(content, dtype=np.int64, sep=" ")
    line_ends = np.flatnonzero(characters == ord("\n"))
    line = np.searchsorted(line_ends, starts)
    is_user = np.diff(line, prepend=-1) > 0
    users = ids[is_user]
    pairs = Split(users[np.cumsum(is_user) - 1][~is_user], ids[~is_user])

    def at(tokens: np.ndarray):
        return lambda entry: f"{path}: row {line[tokens][entry] + 1}"

    num_items = count_rows("item", pairs.items, at(~is_user)) if len(pairs) else 0
    return pairs, count_rows("user", users, at(is_user)), num_items
