"""The three graphs of MDE, from a dataset: user-item, user co-occurrence, item-item by content."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.dataset import InteractionDataset
from ..kernels import CSRGraph
from .cache import GraphCache
from .co_occurrence import co_occurrence_graph
from .neighbours import blend_item_graphs, nearest_neighbours, stack_item_graphs
from .user_item import user_item_graph

__all__ = ["GraphCache", "Graphs", "build_graphs"]


@dataclass(frozen=True)
class Graphs:
    """Attributes:
    user_item: (U + I, U + I), symmetric, users first (eq. 2).
    user_user: (U, U) co-occurrence (eq. 4).
    item_item: (I * M, I * M) for one graph per modality, row ``i * M + m`` being modality m of item i, or (I, I) for
        one graph shared by all modalities (eq. 4).
    """

    user_item: CSRGraph
    user_user: CSRGraph
    item_item: CSRGraph

    def to(self, device) -> Graphs:
        """The same graphs on another device."""
        return Graphs(self.user_item.to(device), self.user_user.to(device), self.item_item.to(device))


def build_graphs(
    dataset: InteractionDataset,
    *,
    user_k: int = 40,
    item_k: int = 10,
    item_graph: str = "per_modality",
    blend_weights: tuple[float, ...] = (),
    cache: GraphCache,
) -> Graphs:
    """Build, or read from the cache, the graphs that MDE passes messages over (paper, section II-B).

    Args:
        dataset: only its TRAIN interactions and its features are used.
        user_k: neighbours of a user by co-occurrence. item_k: neighbours of an item by cosine, itself included.
        item_graph: ``per_modality``, or ``blend`` for one weighted sum of the modalities' graphs.
        blend_weights: weight of each modality under ``blend``.
        cache: where finished graphs are kept.
    """
    train = dataset.train_matrix
    user_user = cache.graph(
        lambda: co_occurrence_graph(train, user_k), "co-occurrence", train.shape, user_k, train.indptr, train.indices
    )
    neighbours = [
        cache.array(lambda: nearest_neighbours(matrix, item_k), f"neighbours of items by {name}", item_k, matrix)
        for name, matrix in dataset.features.items()
    ]
    if item_graph == "blend":
        item_item = blend_item_graphs(neighbours, blend_weights)
    else:
        item_item = stack_item_graphs(neighbours)
    return Graphs(user_item=user_item_graph(train), user_user=user_user, item_item=item_item)
