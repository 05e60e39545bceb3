"""The graphs of one dataset: each model takes what it needs, and only that is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse
import torch

from ..kernels import CSRGraph
from .cache import GraphCache
from .co_occurrence import co_occurrence_graph
from .item_similarity import item_similarity_graph
from .neighbours import blend_item_graphs, nearest_neighbours, stack_cosine_graphs, stack_item_graphs
from .user_item import normalised_interactions, random_walk_graph, user_item_graph

logger = logging.getLogger("mde_fast")


class GraphStore:
    """Makes graphs of TRAIN interactions and item features, or reads them from a cache.

    Attributes:
        device: where the graphs that are handed out are.
    """

    def __init__(
        self,
        train: scipy.sparse.csr_matrix,
        features: Mapping[str, np.ndarray],
        cache: GraphCache,
        device: torch.device | str = "cpu",
    ):
        """
        Args:
            train: R, (U, I), a one for each training interaction.
            features: modality -> (I, F_m).
            cache: where finished graphs are kept.
            device: where graphs are wanted.
        """
        self.train, self._features, self._cache = train, features, cache
        self.device = torch.device(device)

    def user_item(self) -> CSRGraph:
        """A of eq. 2, (U + I, U + I), symmetric, users first; too quickly made to be cached."""
        return self._timed("user-item graph", lambda: user_item_graph(self.train))

    def random_walk(self) -> CSRGraph:
        """D^-1 (A + 1), (U + I, U + I), users first (LATTICE)."""
        return self._timed("random walk graph", lambda: random_walk_graph(self.train))

    def interactions(self) -> CSRGraph:
        """R, (U, I), a one for each training interaction."""
        return CSRGraph.from_scipy(self.train, constant=1.0).to(self.device)

    def normalised_interactions(self) -> CSRGraph:
        """D_U^-1/2 R D_I^-1/2, (U, I) (MGCN, SMORE)."""
        return normalised_interactions(self.train).to(self.device)

    def item_similarity(self, alpha: float, power: float) -> CSRGraph:
        """(I, I), symmetric: how alike items are by who has them (Turbo-CF, MM-GF)."""
        return self._timed("item similarity graph", lambda: item_similarity_graph(self.train, alpha, power))

    def co_occurrence(self, k: int) -> CSRGraph:
        """A_uu of eq. 4, (U, U): each user's k users with the most items in common."""
        train = self.train
        key = train.shape, k, train.indptr, train.indices
        return self._timed(
            "user co-occurrence graph",
            lambda: self._cache.graph(lambda: co_occurrence_graph(train, k), "co-occurrence", *key),
        )

    def item_graphs(self, k: int) -> CSRGraph:
        """A_ii of eq. 4 for every modality apart, (I * M, I * M), row ``i * M + m`` being modality m of item i."""
        return self._timed("item-item graphs", lambda: stack_item_graphs(self._all_neighbours(k)))

    def cosine_item_graphs(self, ks: tuple[int, ...], *, strongest: bool = False) -> CSRGraph:
        """For every modality apart, (I * M, I * M) as above: cosines over the roots of sums (LATTICE, MGCN, SMORE).

        Args:
            ks: neighbours in each modality.
            strongest: as if of a modality more, a graph of all edges, each with its largest value.
        """
        neighbours = [self.neighbours(modality, k) for modality, k in zip(self._features, ks, strict=True)]
        features = list(self._features.values())
        return self._timed("item-item graphs", lambda: stack_cosine_graphs(features, neighbours, strongest=strongest))

    def blended_item_graph(self, k: int, weights: tuple[float, ...]) -> CSRGraph:
        """One item-item graph (I, I) for all modalities: theirs, weighted (DRAGON, FREEDOM)."""
        return self._timed("item-item graph", lambda: blend_item_graphs(self._all_neighbours(k), weights))

    def neighbours(self, modality: str, k: int) -> np.ndarray:
        """Each item's k items with the most similar content, itself first, (I, k) int32."""
        matrix = self._features[modality]
        return self._cache.array(lambda: nearest_neighbours(matrix, k), f"neighbours of items by {modality}", k, matrix)

    def _all_neighbours(self, k: int) -> list[np.ndarray]:
        return [self.neighbours(modality, k) for modality in self._features]

    def _timed(self, what: str, make: Callable[[], CSRGraph]) -> CSRGraph:
        started = time.perf_counter()
        graph = make().to(self.device)
        logger.info("%s ready in %.1f s: %s edges", what, time.perf_counter() - started, f"{graph.num_edges:,}")
        return graph
