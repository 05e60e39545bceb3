"""DRAGON (Zhou, Zhou, Shen, ECAI 2023): dyadic relations between users and items, with homogeneous graphs of either."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..graphs.blend import blend_weights
from ..kernels import spmm
from ..nn.by_columns import bpr
from ..nn.content_lightgcn import ContentLightGCN, ContentOptions, modality_weights
from ..nn.user_neighbours import UserNeighbours
from ..options import at_least, option
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class DRAGONOptions(ContentOptions):
    """As in MMRec, whose grid has the learning rates 0.1, 0.01, 1e-3, 1e-4 and 1e-5 beside ``reg_weight``."""

    owner: ClassVar[str] = "dragon"
    mmrec_ignored: ClassVar[Mapping[str, str]] = {
        "aggr_mode": "messages are added, over the root of both degrees",
        "u_layers": "one layer on the user graph; never read by the published code",
    }

    embedding_size: int = option(
        64, "d, dimensions of a modality's embedding", mmrec=("feat_embed_dim",), check=at_least(1)
    )
    n_mm_layers: int = option(1, "layers on the item graph, the last of which is added", check=at_least(1))
    user_k: int = option(40, "neighbours in the user co-occurrence graph", mmrec=("k",), check=at_least(1))
    knn_k: int = option(10, "neighbours of an item in each modality", check=at_least(1))
    blend_weights: tuple[float, ...] = option(
        (),
        "weight of each modality's item graph; default 0.1 for image and 0.9 for text, else equal",
        mmrec={"mm_image_weight": lambda image: (float(image), 1 - float(image))},
    )
    reg_weight: float = option(
        0.0001,
        "of the mean squares of the batch's preferences and of the modality weights",
        check=at_least(0),
        search=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    )


class DRAGON(Model[DRAGONOptions]):
    """LightGCN per modality; users weigh modalities and hear from users like them, items from items like them.

    U users, I items, M modalities, D numbers an embedding. The modalities stand side by side in a representation.
    """

    title = "DRAGON (2023): dyadic relations and homogeneous graphs"
    Options = DRAGONOptions
    node_tables = ("content.preferences",)
    min_modalities = 1
    by_columns = True
    part_names = ("bpr", "regulariser")

    def __init__(self, options: DRAGONOptions, inputs: Inputs):
        super().__init__()
        self.options, graphs, modalities = options, inputs.graphs, tuple(inputs.features)
        self.world = inputs.world
        self.item_graph = graphs.blended_item_graph(options.knn_k, blend_weights(options.blend_weights, modalities))
        self.user_graph = UserNeighbours(
            graphs.co_occurrence(options.user_k), options.user_k, filled=options.user_graph_filled
        )
        self.content = ContentLightGCN(
            inputs.frozen_features(),
            graphs.user_item(),
            options,
            precision=inputs.precision,
            generator=inputs.generator,
            world=self.world,
        )
        self.user_weights = modality_weights(inputs.num_users, len(modalities), inputs.generator)  # alpha

    @classmethod
    def build(cls, options: DRAGONOptions, inputs: Inputs) -> DRAGON:
        return cls(options, inputs)

    def begin_epoch(self, generator: torch.Generator) -> bool:
        self.user_graph.begin_epoch(generator)
        return False

    def encode(self) -> tuple[Tensor, Tensor, Tensor]:
        """Users, weighted, and items after the user-item graph, (U, M * D), (I, M * D), and norms (U, M)."""
        users, items, norms = self.content()  # (U, M, D), (I, M, D), (U, M)
        (weights,) = self.world.shared(self.user_weights)
        return (weights[:, :, None] * users).flatten(1), items.flatten(1), norms

    def _hear_items(self, items: Tensor) -> Tensor:
        """(I, M * D): an item's own, and what reaches it over ``n_mm_layers`` steps of the item graph."""
        h = items
        for _ in range(self.options.n_mm_layers - 1):
            h = spmm(self.item_graph, h)
        return spmm(self.item_graph, h, residual=items)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR in bits (log2), and lambda times the mean squares of preferences and of alpha."""
        users, items, norms = self.encode()
        users, items = self.user_graph(users, batch.users), self._hear_items(items)  # (B, M * D), (I, M * D)
        shape = self.content.preferences.shape[1:]
        rows = torch.arange(len(users), device=users.device)
        triples = rows, batch.positives, batch.negatives
        losses = bpr(self.world, users.unflatten(1, shape), items.unflatten(1, shape), *triples)
        regulariser = self.content.regulariser(norms, batch.users, self.user_weights)
        return torch.stack([losses[0] / math.log(2), self.options.reg_weight * regulariser])

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, M * D) and (I, M * D)."""
        users, items, _ = self.encode()
        return self.user_graph.all_users(users), self._hear_items(items)
