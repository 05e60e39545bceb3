"""The rule that splits interactions three ways where the data brings no split of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .dataset import Split, first_of_each

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class SplitRule:
    """Per user, a share of the interactions for training, validation and test.

    A user with n interactions gives round(n * ratio) of them to test and as many, by its own ratio, to validation; at
    least one each where n >= 3 and the ratio is not zero. Training keeps the rest and never less than one. A user with
    fewer than three interactions stays in training.

    Attributes:
        how: ``random``, which interactions are held out is drawn with ``seed``; or ``temporal``, the latest are the
            test and those before them the validation, ties in file order.
        ratios: (train, valid, test), sum 1.
        seed: of the random draw.

    Raises:
        InputError: one of these is not usable.
    """

    how: str = "random"
    ratios: tuple[float, ...] = (0.8, 0.1, 0.1)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in ("random", "temporal"):
            raise InputError(f"split {self.how!r} is unknown (--split); use random or temporal")
        ratios = self.ratios
        if len(ratios) != 3 or not (ratios[0] > 0 and min(ratios[1:]) >= 0 and abs(sum(ratios) - 1) < 1e-6):
            raise InputError(
                f"split ratios {shown_ratios(ratios)} are not usable (--split-ratios); give train, valid and test "
                "shares that sum to 1, train above 0, such as 0.8 0.1 0.1"
            )
        if self.seed < 0:
            raise InputError(f"split seed {self.seed} is negative (--split-seed); use 0 or more")

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.how == "random" else ""
        return f"{self.how} {shown_ratios(self.ratios)} per user{seed}"

    @property
    def temporal(self) -> bool:
        return self.how == "temporal"

    def unused(self, source: str) -> tuple[str, ...]:
        """The note, if one is due, that the split comes from ``source`` and not from this rule."""
        return (f"split: taken from {source}; --split {self.how} has no effect",) if self.temporal else ()

    def without_test(self) -> SplitRule:
        """The rule for data that brings its test split: train and valid keep their proportion."""
        train, valid, _ = self.ratios
        return SplitRule(self.how, (train / (train + valid), valid / (train + valid), 0.0), self.seed)

    def apply(self, pairs: Split, times: np.ndarray | None = None) -> dict[str, Split]:
        """Split ``pairs``; every part keeps the order of the pairs.

        A pair that repeats counts once (at its earliest time in a temporal split), so that no pair is both trained on
        and held out.

        Args:
            pairs: n user-item pairs.
            times: (n,) numbers that order the interactions; a temporal split needs them.
        """
        if len(pairs) == 0:
            return dict.fromkeys(PARTS, pairs)
        sequence = np.argsort(np.asarray(times), kind="stable") if self.temporal else np.arange(len(pairs))
        keys = pairs.keys(int(pairs.items.max()) + 1)
        sequence = sequence[first_of_each(keys[sequence] if self.temporal else keys)]
        del keys  # of many millions of interactions every array counts
        if not self.temporal:
            sequence = np.random.default_rng(self.seed).permutation(sequence)

        users = pairs.users[sequence]
        by_user = np.argsort(users, kind="stable")
        sequence, users = sequence[by_user], users[by_user]
        del by_user
        counts = np.bincount(users)
        rank = np.arange(len(users))
        rank -= (np.cumsum(counts) - counts)[users]

        held_valid, held_test = self._held_out(counts)
        is_test = rank >= (counts - held_test)[users]
        is_valid = ~is_test & (rank >= (counts - held_test - held_valid)[users])
        chosen = {"train": ~is_valid & ~is_test, "valid": is_valid, "test": is_test}
        return {part: pairs.where(np.sort(sequence[chosen[part]])) for part in PARTS}

    def _held_out(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Held-out interactions (valid, test) of users with ``counts`` interactions."""
        _, valid_ratio, test_ratio = self.ratios
        enough = counts >= 3
        valid, test = (
            np.where(enough & (ratio > 0), np.maximum(np.rint(counts * ratio).astype(np.int64), 1), 0)
            for ratio in (valid_ratio, test_ratio)
        )
        # Where the ratios ask for more than training can spare, test gives way to one validation, both to one training.
        test = np.minimum(test, np.maximum(counts - 1 - (valid > 0), 0))
        return np.minimum(valid, np.maximum(counts - 1 - test, 0)), test


def shown_ratios(ratios: tuple[float, ...]) -> str:
    return "/".join(f"{ratio:.4g}" for ratio in ratios)
