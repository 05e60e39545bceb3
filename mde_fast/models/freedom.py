"""FREEDOM (Zhou and Shen, MM 2023): a frozen item graph, and a user-item graph that loses edges anew each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graphs.blend import blend_weights
from ..graphs.prune import prune_by_degree
from ..kernels import CSRGraph, propagate, spmm
from ..nn.by_columns import bpr
from ..nn.tables import node_table
from ..options import Options, at_least, option, share_left_out
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class FREEDOMOptions(Options):
    """As in MMRec, whose grid is dropout 0.8 and 0.9, reg_weight 0, 1e-5, 1e-4 and 1e-3."""

    owner: ClassVar[str] = "freedom"
    mmrec_ignored: ClassVar[Mapping[str, str]] = {
        "lambda_coeff": "read by the published code and used nowhere",
        "weight_size": "never read by the published code",
    }

    embedding_size: int = option(64, "d, dimensions of an embedding", mmrec=("feat_embed_dim",), check=at_least(1))
    n_layers: int = option(2, "L_ui, layers on the user-item graph", mmrec=("n_ui_layers",), check=at_least(0))
    item_layers: int = option(1, "L_ii, layers on the item graph", mmrec=("n_mm_layers",), check=at_least(0))
    knn_k: int = option(10, "neighbours in each modality's item graph", check=at_least(1))
    blend_weights: tuple[float, ...] = option(
        (),
        "weight of each modality's item graph; default 0.1 for image and 0.9 for text, else equal",
        mmrec={"mm_image_weight": lambda image: (float(image), 1 - float(image))},
    )
    dropout: float = option(
        0.8, "rho, share of the user-item edges that an epoch leaves out", check=share_left_out, search=(0.8, 0.9)
    )
    reg_weight: float = option(
        0.001,
        "lambda, of the BPR with projected content (no regulariser)",
        check=at_least(0),
        search=(0.0, 1e-5, 1e-4, 1e-3),
    )
    train_features: bool = option(True, "learn the items' raw features too, as the published code does")


class FREEDOM(Model[FREEDOMOptions]):
    """LightGCN on a pruned graph, plus the item ids passed over a graph of similar content that never changes."""

    title = "FREEDOM (2023): frozen item graph, pruned interactions"
    Options = FREEDOMOptions
    node_tables = ("table",)
    min_modalities = 1
    by_columns = True

    def __init__(self, options: FREEDOMOptions, inputs: Inputs, user_item: CSRGraph, item_item: CSRGraph):
        """``user_item`` (U + I, U + I), symmetric, users first; ``item_item`` (I, I), of all modalities."""
        super().__init__()
        self.options, self.whole, self.item_item = options, user_item, item_item
        self.pruned = user_item  # until the first epoch begins
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        self.world, width = inputs.world, options.embedding_size
        self.table = node_table(self.num_users, self.num_items, width, inputs.generator, self.world)
        self.towers = inputs.towers(width, trained=options.train_features, initial="pytorch")
        self.part_names = ("bpr", *(f"bpr_{name}" for name in inputs.features))

    @classmethod
    def build(cls, options: FREEDOMOptions, inputs: Inputs) -> FREEDOM:
        weights = blend_weights(options.blend_weights, tuple(inputs.features))
        item_item = inputs.graphs.blended_item_graph(options.knn_k, weights)
        return cls(options, inputs, inputs.graphs.user_item(), item_item)

    def begin_epoch(self, generator: torch.Generator) -> bool:
        """Leave out rho of the user-item edges until the next epoch (section 3.2)."""
        if self.options.dropout == 0:
            return False
        self.pruned = prune_by_degree(self.whole, self.num_users, self.options.dropout, generator)
        return True

    def encode(self, user_item: CSRGraph) -> tuple[Tensor, Tensor]:
        """(U, D) LightGCN's mean over layers, and (I, D) the same plus item ids passed over the item graph."""
        layers = propagate(user_item, self.table, layers=self.options.n_layers, combine="mean")
        users, items = layers.split([self.num_users, self.num_items])
        alike = self.table[self.num_users :]
        for _ in range(self.options.item_layers):
            alike = spmm(self.item_item, alike)
        return users, items + alike

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR of the embeddings, and lambda times BPR of users with each modality's projection (section 3.3)."""
        users, items = self.encode(self.pruned)
        losses = bpr(self.world, users[:, None], items[:, None], batch.users, batch.positives, batch.negatives)
        rows = F.embedding(batch.users, users)
        ids = torch.cat([batch.positives, batch.negatives])
        parts = [losses[0]]
        for tower in self.towers:
            positives, negatives = tower(ids).tensor_split(2)
            scores = self.world.total((rows * (positives - negatives)).sum(1))
            parts.append(-self.options.reg_weight * F.logsigmoid(scores).mean())
        return torch.stack(parts)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """On the whole graph: (U, D) and (I, D)."""
        return self.encode(self.whole)
