"""MGCN (Yu et al., MM 2023): content purified by behaviour, and what modalities share told from what is their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import bpr, normalize_rows, propagate, spmm
from ..nn.contrast import InfoNCE
from ..nn.linear import linear
from ..nn.tables import node_table
from ..nn.towers import feature_towers
from ..options import Options, at_least, option, positive
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class MGCNOptions(Options):
    """As in MMRec, whose grid is cl_loss 0.001, 0.01 and 0.1."""

    owner: ClassVar[str] = "mgcn"
    mmrec_ignored: ClassVar = {"lambda_coeff": "never read by the published code"}

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    n_ui_layers: int = option(2, "layers on the user-item graph", check=at_least(0))
    n_layers: int = option(1, "layers on each modality's item graph", check=at_least(0))
    knn_k: int = option(10, "neighbours in each modality's item graph", check=at_least(1))
    cl_loss: float = option(
        0.01, "lambda_c, of the contrast of content with behaviour", check=at_least(0), search=(0.001, 0.01, 0.1)
    )
    temperature: float = option(0.2, "tau of that contrast", check=positive)
    reg_weight: float = option(0.0001, "of half the squared norms of a triple's embeddings", check=at_least(0))
    train_features: bool = option(True, "learn the items' raw features too, as the published code does")


class MGCN(Model[MGCNOptions]):
    """Three views: behaviour (LightGCN), each modality's items alike, and a fusion of these that behaviour steers.

    U users, I items, N = U + I nodes, M modalities. Of what graphs give, rows are made into embeddings one by one, so
    in a step those of the batch alone.
    """

    title = "MGCN (2023): multi-view graph convolutions"
    Options = MGCNOptions
    min_modalities = 1
    part_names = ("bpr", "contrast", "regulariser")

    def __init__(self, options: MGCNOptions, inputs: Inputs):
        super().__init__()
        self.options, graphs = options, inputs.graphs
        self.user_item, self.from_items = graphs.user_item(), graphs.normalised_interactions()
        self.item_item = graphs.cosine_item_graphs((options.knn_k,) * len(inputs.features))
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        width, generator = options.embedding_size, inputs.generator
        self.table = node_table(self.num_users, self.num_items, width, generator)
        self.towers = feature_towers(
            inputs.features if options.train_features else inputs.frozen_features(),
            width,
            initial="pytorch",
            precision=inputs.precision,
            generator=generator,
            trained=options.train_features,
        )

        def gates() -> nn.ModuleList:
            return nn.ModuleList(linear(width, width, generator) for _ in inputs.features)

        self.purifiers, self.preferences = gates(), gates()
        self.query = linear(width, width, generator)
        self.attention = linear(width, 1, generator, bias=False)

    @classmethod
    def build(cls, options: MGCNOptions, inputs: Inputs) -> MGCN:
        return cls(options, inputs)

    def views(self) -> tuple[Tensor, Tensor]:
        """What graphs give: behaviour (N, d) and content (N, M, d)."""
        ids = self.table[self.num_users :]
        purified = [ids * torch.sigmoid(gate(tower())) for gate, tower in zip(self.purifiers, self.towers)]
        items = torch.stack(purified, dim=1).flatten(0, 1)  # (I * M, d)
        for _ in range(self.options.n_layers):
            items = spmm(self.item_item, items)
        items = items.view(self.num_items, -1)  # (I, M * d)
        content = torch.cat([spmm(self.from_items, items), items])
        behaviour = propagate(self.user_item, self.table, layers=self.options.n_ui_layers, combine="mean")
        return behaviour, content.unflatten(1, (len(purified), -1))

    def side(self, behaviour: Tensor, content: Tensor) -> Tensor:
        """(n, d) what is added to the behaviour (n, d) of some nodes, from their content (n, M, d).

        The content that modalities share, by attention, and what each has besides, as far as behaviour prefers it.
        """
        shares = torch.softmax(self.attention(torch.tanh(self.query(content))), dim=1)  # (n, M, 1)
        common = (shares * content).sum(1, keepdim=True)
        preferred = torch.stack([torch.sigmoid(gate(behaviour)) for gate in self.preferences], dim=1)
        parts = torch.cat([preferred * (content - common), common], dim=1)
        return parts.mean(1)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, the contrast of both sides' content with behaviour, and half the squared norms of a triple."""
        options, views = self.options, self.views()
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        behaviour, content = (F.embedding(nodes, view.flatten(1)).view(-1, *view.shape[1:]) for view in views)
        side = self.side(behaviour, content)
        rows, count = behaviour + side, len(batch.users)
        triple = torch.arange(len(nodes), device=nodes.device).tensor_split(3)
        losses = bpr(rows[:, None], rows[:, None], *triple)
        queries, keys = (normalize_rows(part[: 2 * count]) for part in (side, behaviour))
        contrast = [
            InfoNCE.apply(*pair, options.temperature) for pair in zip(queries.tensor_split(2), keys.tensor_split(2))
        ]
        regulariser = rows.square().sum() / (2 * max(count, 1))
        parts = losses[0], options.cl_loss * torch.stack(contrast).sum(), options.reg_weight * regulariser
        return torch.stack(parts)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d)."""
        behaviour, content = self.views()
        users, items = (behaviour + self.side(behaviour, content)).split([self.num_users, self.num_items])
        return users, items
