"""``--feature-rank``: of which features the towers multiply the factors Q B instead, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..graphs.cache import GraphCache
from .factors import EXACT, Factors, cut, exact_factors, rank_for_error, truncated_factors

logger = logging.getLogger("mde_fast")

PAYS = 0.8  # of a product's multiplications: where more are left, less time is gained than is spent on two products
FORMAT = "1"  # part of every key of the cache: raise it when other factors are found


def check_feature_rank(value: str) -> str | None:
    """What is wrong with a value of the option, or None."""
    try:
        if value in ("full", "exact") or int(value) >= 1:
            return None
    except ValueError:
        pass
    kind, _, error = value.partition(":")
    try:
        if kind == "auto" and EXACT < float(error) < 1:
            return None
    except ValueError:
        pass
    return f"choose exact, full, auto:ERROR with ERROR between {EXACT:.0e} and 1, or a number of columns from 1 up"


def largest_rank_that_pays(items: int, columns: int) -> int:
    """The largest r for which Z = Q (B W) has at most :data:`PAYS` of the multiplications of Z = X W.

    For X (items, columns) and each column of W that is ``r (items + columns)`` instead of ``items * columns``; the
    products on the way back are as many.
    """
    return int(PAYS * items * columns / max(items + columns, 1))


class FeatureRank:
    """Makes factors of features where they pay, or reads them from a cache."""

    def __init__(self, value: str = "full", cache: GraphCache | None = None):
        """
        Args:
            value: of the option: ``full`` leaves features as they are; ``exact`` takes factors that differ from them by
                roundings; ``auto:ERROR`` the smallest rank with ||X - Q B|| <= ERROR ||X||; a number that rank or a
                smaller one that is exact.
            cache: where factors are kept; nowhere by default.
        """
        self.value, self._cache = value, cache or GraphCache(None)

    def __call__(self, name: str, features: Tensor) -> Tensor | Factors:
        """Features (I, F) float32 of a modality, as they are or as factors; the log says what was found."""
        most = largest_rank_that_pays(*features.shape)
        if self.value == "full" or most < 1:
            return features
        factors = self._kept("exact", lambda: exact_factors(features, most), name, features)
        if self.value != "exact":
            factors = self._smaller(factors, most, name, features)
        columns = f"{features.shape[1]:,} columns"
        if factors is not None:
            logger.info("features %s: %s (--feature-rank)", name, _described(factors, columns))
        elif self.value != "exact":
            what = f"all {columns} are multiplied, more than {most:,} of any kind would save too little"
            logger.info("features %s: %s (--feature-rank %s)", name, what, self.value)
        return features if factors is None else factors

    def _smaller(self, exact: Factors | None, most: int, name: str, features: Tensor) -> Factors | None:
        """Of the rank or the error asked for, cut from exact factors where these are; None where they do not pay."""
        kind, _, tail = self.value.partition(":")
        error = float(tail) if kind == "auto" else None
        rank = int(self.value) if error is None else None
        if exact is not None:
            enough = rank is not None and rank >= exact.left.shape[1]
            return exact if enough else cut(exact, rank, error)

        def make() -> Factors | None:
            needed = rank if error is None else rank_for_error(features, error)
            assert needed is not None
            return truncated_factors(features, needed, error) if needed <= most else None

        factors = self._kept(self.value, make, name, features)
        return factors if factors is not None and factors.left.shape[1] <= most else None

    def _kept(self, what: str, make: Callable[[], Factors | None], name: str, features: Tensor) -> Factors | None:
        """What ``make`` returns, from the cache if it is there."""

        def to_tensors() -> dict[str, Tensor]:
            factors = make()
            if factors is None:
                return {"kept": torch.tensor(0.0)}
            (right,) = factors.right
            assert isinstance(right, Tensor)
            return {"left": factors.left, "right": right, "kept": torch.tensor(factors.kept, dtype=torch.float64)}

        key = FORMAT, what, PAYS, features.numpy()
        tensors = self._cache.tensors(to_tensors, f"factors of {name}", *key)
        if "left" not in tensors:
            return None
        return Factors(tensors["left"], (tensors["right"],), float(tensors["kept"]))


def _described(factors: Factors, columns: str) -> str:
    rank = f"{factors.left.shape[1]:,}"
    found = f"{rank} of {columns} are independent"
    if factors.kept < 1:
        error = (1 - factors.kept) ** 0.5
        found = f"rank {rank} instead of {columns} keeps {factors.kept:.2%} of the squares, an error of {error:.2g}"
    return f"{found}: the first layer's products cost {rank}"
