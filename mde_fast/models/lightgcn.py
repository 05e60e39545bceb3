"""LightGCN (He et al., SIGIR 2020): behaviour alone, the baseline that a multi-modal model has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels import CSRGraph, propagate
from ..nn.by_columns import bpr
from ..nn.tables import node_table
from ..options import Options, Range, at_least, option
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class LightGCNOptions(Options):
    """As in MMRec, whose grid is n_layers 1 to 4 and reg_weight 1e-2 to 1e-6."""

    owner: ClassVar[str] = "lightgcn"

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    n_layers: int = option(
        2, "L, layers on the user-item graph", mmrec=("n_ui_layers",), check=at_least(0), search=(1, 2, 3, 4)
    )
    reg_weight: float = option(
        0.001, "of the squared norms of a triple's rows", check=at_least(0), search=Range(1e-6, 0.1, log=True)
    )


class LightGCN(Model[LightGCNOptions]):
    """An embedding per user and item, ``n_layers`` normalised convolutions, the mean over all layers, BPR."""

    title = "LightGCN (2020): behaviour alone"
    Options = LightGCNOptions
    node_tables = ("table",)
    by_columns = True
    part_names = ("bpr", "regulariser")

    def __init__(self, options: LightGCNOptions, inputs: Inputs, user_item: CSRGraph):
        """``user_item`` (U + I, U + I), symmetric, users first."""
        super().__init__()
        self.options, self.user_item, self.num_users = options, user_item, inputs.num_users
        self.world, sizes = inputs.world, (inputs.num_users, inputs.num_items)
        self.table = node_table(*sizes, options.embedding_size, inputs.generator, self.world)

    @classmethod
    def build(cls, options: LightGCNOptions, inputs: Inputs) -> LightGCN:
        return cls(options, inputs, inputs.graphs.user_item())

    def encode(self) -> tuple[Tensor, Tensor]:
        """Embeddings after message passing: (U, D) and (I, D)."""
        layers = propagate(self.user_item, self.table, layers=self.options.n_layers, combine="mean")
        users, items = layers.split((self.num_users, len(layers) - self.num_users))
        return users, items

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, and lambda times half the squared norm of a triple's three rows of the table, mean over the batch."""
        h_users, h_items = self.encode()
        users, positives, negatives = batch.users, batch.positives, batch.negatives
        losses = bpr(self.world, h_users[:, None], h_items[:, None], users, positives, negatives)
        nodes = torch.cat([users, positives + self.num_users, negatives + self.num_users])
        squares = self.world.total(F.embedding(nodes, self.table).square().sum())
        regulariser = squares / (2 * max(users.numel(), 1))
        return torch.stack([losses[0], self.options.reg_weight * regulariser])

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        return self.encode()
