"""The one shape that every source of data takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse
import xxhash

from ..errors import InputError

REAL, STAND_IN, STAND_IN_FEATURES = "real", "stand-in", "stand-in features"


@dataclass(frozen=True)
class Split:
    """User-item pairs of one split: ``users`` (n,) and ``items`` (n,), int64 row numbers."""

    users: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def where(self, keep: np.ndarray) -> Split:
        return Split(self.users[keep], self.items[keep])

    def followed_by(self, other: Split) -> Split:
        return Split(np.concatenate([self.users, other.users]), np.concatenate([self.items, other.items]))

    def keys(self, num_items: int) -> np.ndarray:
        """(n,) int64: a number for each pair, the same for the same pair."""
        return self.users * num_items + self.items

    def without_repetitions(self, num_items: int) -> Split:
        """The first of each pair, in the same order."""
        first = first_of_each(self.keys(num_items))
        return self if first.all() else self.where(first)

    def matrix(self, num_users: int, num_items: int) -> scipy.sparse.csr_matrix:
        """(U, I) matrix with a one for each pair, columns ascending in each row."""
        ones = np.ones(len(self), dtype=np.float32)
        matrix = scipy.sparse.csr_matrix((ones, (self.users, self.items)), shape=(num_users, num_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """(n,) bool: entries of ``keys`` (n,) that no equal one precedes."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.ones(len(keys), dtype=bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first


NO_PAIRS = Split(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class InteractionDataset:
    """Interactions split three ways, item features per modality, and the ids that the outside world uses.

    Attributes:
        name: what the user called it.
        data: ``real``, ``stand-in`` or ``stand-in features``; every result repeats it.
        train, valid, test: the splits. Pairs are unique within each; users of ``valid`` and ``test`` have a training
            interaction (protocol of MMRec).
        features: modality name -> (items, F_m) floating point, in a fixed order. May be empty.
        user_ids, item_ids: external id of each row, (U,) and (I,), of any type that sorts; text as objects, so that a
            long id does not make all of them long.
        notes: lines for the person who runs this: what was dropped, how the split was made.
        untrained: held-out pairs of users without a training one; nothing is measured on them, but they are known.
    """

    name: str
    data: str
    num_users: int
    num_items: int
    train: Split
    valid: Split
    test: Split
    features: dict[str, np.ndarray]
    user_ids: np.ndarray
    item_ids: np.ndarray
    notes: tuple[str, ...] = field(default=())
    untrained: Split = NO_PAIRS

    @classmethod
    def build(
        cls,
        name: str,
        splits: dict[str, Split],
        *,
        num_users: int,
        num_items: int,
        features: dict[str, np.ndarray] | None = None,
        user_ids: np.ndarray | None = None,
        item_ids: np.ndarray | None = None,
        data: str = REAL,
        notes: Iterable[str] = (),
    ) -> InteractionDataset:
        """Apply the protocol to raw splits: drop repeated pairs, and held-out pairs of users without training.

        Raises:
            InputError: a split is empty.
        """
        notes = list(notes)
        kept = {}
        for part in ("train", "valid", "test"):
            kept[part] = splits[part].without_repetitions(num_items)
            if len(kept[part]) < len(splits[part]):
                notes.append(f"{part}: {len(splits[part]) - len(kept[part])} repeated interactions dropped")
        trained = np.zeros(num_users, dtype=bool)
        trained[kept["train"].users] = True
        untrained = NO_PAIRS
        for part in ("valid", "test"):
            cold = ~trained[kept[part].users]
            if cold.any():
                users = len(np.unique(kept[part].users[cold]))
                notes.append(f"{part}: {cold.sum()} interactions of {users} users without a training one dropped")
                untrained = untrained.followed_by(kept[part].where(cold))
                kept[part] = kept[part].where(~cold)
        trained_pairs = np.sort(kept["train"].keys(num_items))
        for part in ("valid", "test"):
            pairs = kept[part].keys(num_items)
            known = (np.searchsorted(trained_pairs, pairs, "right") - np.searchsorted(trained_pairs, pairs)).sum()
            if known:
                notes.append(
                    f"{part}: {known} interactions are training ones too; ranking leaves those out, so they are misses"
                )
        for part, split in kept.items():
            if len(split) == 0:
                raise InputError(f"{name}: the {part} split is empty; check the split column or the split ratios")
        return cls(
            name=name,
            data=data,
            num_users=num_users,
            num_items=num_items,
            features=dict(features or {}),
            user_ids=np.arange(num_users) if user_ids is None else user_ids,
            item_ids=np.arange(num_items) if item_ids is None else item_ids,
            notes=tuple(notes),
            untrained=untrained,
            **kept,
        )

    def with_features(self, features: dict[str, np.ndarray], *, data: str, note: str) -> InteractionDataset:
        """The same interactions with other features."""
        return replace(self, features=features, data=data, notes=(*self.notes, note))

    def without_test(self) -> InteractionDataset:
        """The dataset with no test interactions: what is not there cannot be looked at."""
        return replace(self, test=self.test.where(np.zeros(len(self.test), dtype=bool)))

    @cached_property
    def train_matrix(self) -> scipy.sparse.csr_matrix:
        """R: (U, I), a one for each TRAIN interaction."""
        return self.train.matrix(self.num_users, self.num_items)

    @property
    def known(self) -> Split:
        """All pairs that the data have, of whichever split."""
        return self.train.followed_by(self.valid).followed_by(self.test).followed_by(self.untrained)

    @cached_property
    def items_without_interactions(self) -> np.ndarray:
        """(I,) bool: items that occur in no split of this dataset."""
        absent = np.ones(self.num_items, dtype=bool)
        absent[self.known.items] = False
        return absent

    @cached_property
    def items_with_content(self) -> np.ndarray:
        """(I,) bool: items that have a feature other than 0; made up ones say nothing of an item and do not count."""
        content = np.zeros(self.num_items, dtype=bool)
        if self.data != STAND_IN_FEATURES:
            for matrix in self.features.values():
                content |= matrix.any(axis=1)
        return content

    @cached_property
    def fingerprint(self) -> str:
        """Hash of sizes, splits and external ids: equal fingerprints mean rows mean the same users and items."""
        digest = xxhash.xxh3_128()
        digest.update(np.array([self.num_users, self.num_items], dtype=np.int64).data)
        for split in (self.train, self.valid, self.test):
            for column in (split.users, split.items):
                digest.update(np.ascontiguousarray(column, dtype=np.int64).data)
        for ids in (self.user_ids, self.item_ids):
            digest.update("\n".join(map(str, ids.tolist())).encode())
        return digest.hexdigest()

    def statistics(self) -> list[str]:
        """Lines that describe the data: sizes, splits, features."""
        total = len(self.train) + len(self.valid) + len(self.test)
        sparsity = 1 - total / (self.num_users * self.num_items)
        lines = [
            f"{self.name} ({self.data}): {self.num_users:,} users, {self.num_items:,} items, {total:,} interactions "
            f"({len(self.train):,} train / {len(self.valid):,} valid / {len(self.test):,} test), "
            f"sparsity {sparsity:.4%}"
        ]
        if self.features:
            shapes = ", ".join(f"{name} {matrix.shape[1]}-d {matrix.dtype}" for name, matrix in self.features.items())
            lines.append(f"features: {shapes}")
        return lines + list(self.notes)
