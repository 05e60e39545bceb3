"""DualGNN (Wang et al., IEEE TMM 2021): a graph of users beside that of users and items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..nn.by_columns import bpr
from ..nn.content_lightgcn import ContentLightGCN, ContentOptions, modality_weights
from ..nn.user_neighbours import UserNeighbours
from ..options import at_least, option
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class DualGNNOptions(ContentOptions):
    """As in MMRec, whose grid has the learning rates 0.1, 0.01, 1e-3, 1e-4 and 1e-5 beside ``reg_weight``."""

    owner: ClassVar[str] = "dualgnn"
    mmrec_ignored: ClassVar[Mapping[str, str]] = {"aggr_mode": "messages are added, over the root of both degrees"}

    published_quirks: bool = option(
        True,
        "where users weigh the modalities, the first one's place has the sum of all, as in the published code, which "
        "adds them up in place; no: its own (the paper)",
    )
    reg_weight: float = option(
        0.001,
        "of the mean squares of the batch's preferences and of the modality weights",
        check=at_least(0),
        search=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    )


class DualGNN(Model[DualGNNOptions]):
    """LightGCN per modality; users are their weighted sum and hear from users like them, items the plain sum.

    U users, I items, M modalities, D numbers an embedding.
    """

    title = "DualGNN (2021): a graph of users beside users and items"
    Options = DualGNNOptions
    node_tables = ("content.preferences",)
    min_modalities = 1
    by_columns = True
    part_names = ("bpr", "regulariser")

    def __init__(self, options: DualGNNOptions, inputs: Inputs):
        super().__init__()
        self.options, self.world, graphs = options, inputs.world, inputs.graphs
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
        self.user_weights = modality_weights(inputs.num_users, len(inputs.features), inputs.generator)  # alpha

    @classmethod
    def build(cls, options: DualGNNOptions, inputs: Inputs) -> DualGNN:
        return cls(options, inputs)

    def begin_epoch(self, generator: torch.Generator) -> bool:
        self.user_graph.begin_epoch(generator)
        return False

    def encode(self) -> tuple[Tensor, Tensor, Tensor]:
        """Users before they hear from each other, (U, D), items, (I, D), and norms (U, M)."""
        users, items, norms = self.content()  # (U, M, D), (I, M, D), (U, M)
        (weights,) = self.world.shared(self._modality_weights())
        return (weights[:, :, None] * users).sum(1), items.sum(1), norms

    def _modality_weights(self) -> Tensor:
        """(U, M) what a user's modalities count: alpha, or as the published code has it.

        There the first modality's rows have become the sum of all by then, so alpha_0 counts for each of them.
        """
        if not self.options.published_quirks:
            return self.user_weights
        first, others = self.user_weights[:, :1], self.user_weights[:, 1:]
        return torch.cat([first, first + others], dim=1)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR in bits (log2), and lambda times the mean squares of preferences and of alpha."""
        users, items, norms = self.encode()
        users = self.user_graph(users, batch.users)  # (B, D)
        rows = torch.arange(len(users), device=users.device)
        losses = bpr(self.world, users[:, None], items[:, None], rows, batch.positives, batch.negatives)
        regulariser = self.content.regulariser(norms, batch.users, self.user_weights)
        return torch.stack([losses[0] / math.log(2), self.options.reg_weight * regulariser])

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, D) and (I, D)."""
        users, items, _ = self.encode()
        return self.user_graph.all_users(users), items
