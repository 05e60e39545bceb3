"""``--feature-rank``: of which features the towers multiply the factors Q B instead, and what the log says of it."""

from __future__ import annotations

import logging

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
        columns = features.shape[1]
        factors = self._cached("exact", lambda: exact_factors(features, most), name, features)
        if self.value != "exact":
            factors = self._other(factors, most, name, features)
        if factors is None:
            if self.value != "exact":
                what = f"more than {most:,} of {columns:,} columns would be needed and" if self._error() else "it"
                logger.info(
                    "features %s: --feature-rank %s is not used: %s would not save a fifth of the products",
                    *(name, self.value, what),
                )
            return features
        rank = factors.left.shape[1]
        found = f"{rank:,} of {columns:,} columns are independent"
        if factors.kept < 1:
            error = (1 - factors.kept) ** 0.5
            found = f"rank {rank:,} of {columns:,} columns has {factors.kept:.2%} of X (squares; error {error:.2g})"
        logger.info("features %s: %s: the first layer's products cost %s (--feature-rank)", name, found, f"{rank:,}")
        return factors

    def _error(self) -> float | None:
        """The error that ``auto`` names."""
        kind, _, error = self.value.partition(":")
        return float(error) if kind == "auto" else None

    def _other(self, exact: Factors | None, most: int, name: str, features: Tensor) -> Factors | None:
        """Factors that are cut off, from exact ones where there are any; None where their rank does not pay."""
        error = self._error()
        rank = None if error else int(self.value)
        if exact is not None:
            if rank is not None and rank >= exact.left.shape[1]:
                return exact
            return cut(exact, rank=rank) if error is None else cut(exact, error=error)
        if rank is not None and rank > most:
            return None

        def make() -> Factors | None:
            needed = rank if error is None else rank_for_error(features, error)
            factors = None if needed is None or needed > most else truncated_factors(features, needed, error)
            return None if factors is None or factors.left.shape[1] > most else factors

        return self._cached(self.value, make, name, features)

    def _cached(self, what: str, make, name: str, features: Tensor) -> Factors | None:
        def to_tensors() -> dict[str, Tensor]:
            factors = make()
            if factors is None:
                return {"left": torch.empty(0)}
            (right,) = factors.right
            return {"left": factors.left, "right": right, "kept": torch.tensor(factors.kept, dtype=torch.float64)}

        tensors = self._cache.tensors(to_tensors, f"factors of {name}", FORMAT, what, PAYS, features.numpy())
        if "right" not in tensors:
            return None
        return Factors(tensors["left"], (tensors["right"],), float(tensors["kept"]))
