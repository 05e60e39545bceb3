"""MGCN (Yu et al., MM 2023): content purified by behaviour, and what modalities share told from what is their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import propagate
from ..nn.content_views import content_views, view_losses
from ..nn.linear import linear
from ..nn.tables import node_table
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

    title = "MGCN (2023): content purified by behaviour, in views"
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
        self.towers = inputs.towers(width, trained=options.train_features, initial="pytorch")

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
        content = content_views(torch.stack(purified, dim=1), self.item_item, self.from_items, self.options.n_layers)
        behaviour = propagate(self.user_item, self.table, layers=self.options.n_ui_layers, combine="mean")
        return behaviour, content

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
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        behaviour, content = (F.embedding(nodes, view.flatten(1)).view(-1, *view.shape[1:]) for view in self.views())
        return view_losses(behaviour, self.side(behaviour, content), self.options)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d)."""
        behaviour, content = self.views()
        users, items = (behaviour + self.side(behaviour, content)).split([self.num_users, self.num_items])
        return users, items
