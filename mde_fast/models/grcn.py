"""GRCN (Wei et al., MM 2020): content decides how much each interaction counts, and which are pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import CSRGraph, edge_dots, edge_softmax, normalize_rows, source_rows, spmm
from ..nn.towers import NEGATIVE_SLOPE, feature_towers
from ..options import Options, at_least, option
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class GRCNOptions(Options):
    """As in MMRec, whose grid has the learning rates 1, 1e-1, 1e-2, 1e-3 and 1e-4 beside ``reg_weight``."""

    owner: ClassVar[str] = "grcn"

    embedding_size: int = option(64, "d, dimensions of an id embedding", check=at_least(1))
    content_size: int = option(
        64, "dimensions of a modality's embedding", mmrec=("latent_embedding",), check=at_least(1)
    )
    routing: bool = option(
        False,
        "let a user's preferences hear from the items (the paper); in the published code the routing's messages reach "
        "items only and are dropped",
    )
    routing_rounds: int = option(
        3, "rounds of the routing; without it they change nothing", mmrec=("n_layers",), check=at_least(0)
    )
    reg_weight: float = option(
        0.001,
        "of the batch's squared id embeddings and preferences, and of all squared image preferences",
        check=at_least(0),
        search=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    )


class GRCN(Model[GRCNOptions]):
    """Attention between users and items in each modality, whose strength weighs the edges of the id embeddings' graph.

    U users, I items, N = U + I nodes, users first; E interactions, so 2 E edges; M modalities; D, ``embedding_size``;
    C, ``content_size``.
    """

    title = "GRCN (2020): a graph refined by content"
    Options = GRCNOptions
    min_modalities = 1
    part_names = ("bpr", "regulariser")

    def __init__(self, options: GRCNOptions, inputs: Inputs):
        super().__init__()
        self.options, self.num_users = options, inputs.num_users
        self.user_item = inputs.graphs.user_item()  # (N, N), 2 E edges: the E of users' rows, then those of items'
        self.interactions = CSRGraph.from_scipy(inputs.graphs.train, constant=1.0).to(inputs.graphs.device)  # (U, I)
        generator, num_nodes = inputs.generator, inputs.num_users + inputs.num_items

        def drawn(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(nn.init.xavier_normal_(torch.empty(rows, columns), generator=generator))

        self.ids = drawn(num_nodes, options.embedding_size)
        self.modalities = tuple(inputs.features)
        self.towers = feature_towers(
            inputs.frozen_features(), options.content_size, precision=inputs.precision, generator=generator
        )
        self.preferences = nn.ParameterList(drawn(inputs.num_users, options.content_size) for _ in self.modalities)
        self.confidence = drawn(num_nodes, len(self.towers))

    @classmethod
    def build(cls, options: GRCNOptions, inputs: Inputs) -> GRCN:
        return cls(options, inputs)

    def encode(self) -> list[Tensor]:
        """The parts of a node's representation: (N, D) of the ids, (N, C) of each modality."""
        contents, strengths = zip(*map(self._content, self.towers, self.preferences))
        return [self._refined(torch.stack(strengths)), *contents]

    def _content(self, tower: nn.Module, preferences: Tensor) -> tuple[Tensor, Tensor]:
        """A modality's embeddings (N, C), and how strong each edge is by its content, (2 E,)."""
        users = normalize_rows(preferences)  # (U, C)
        items = normalize_rows(F.leaky_relu(tower(), NEGATIVE_SLOPE, inplace=True))  # (I, C)
        if self.options.routing:
            for _ in range(self.options.routing_rounds):
                alpha = edge_softmax(self.interactions, edge_dots(self.interactions, users, items))
                users = normalize_rows(spmm(self.interactions, items, values=alpha, residual=users))
        scores = edge_dots(self.interactions, users, items)  # the same in both directions
        scores = torch.cat([scores, scores[self.interactions.transpose_order()]])
        alpha = edge_softmax(self.user_item, scores)
        x = torch.cat([users, items])
        return spmm(self.user_item, x, values=alpha, residual=x), alpha

    def _refined(self, strengths: Tensor) -> Tensor:
        """(N, D): the sum of the id embeddings' layers 0 to 2 over edges weighted by ``strengths`` (M, 2 E)."""
        confidence = source_rows(self.user_item, self.confidence).T  # (M, 2 E), of the node that a message comes from
        weights = torch.relu((strengths * confidence).max(dim=0).values)  # 0: the edge is pruned
        x = normalize_rows(self.ids)
        one = spmm(self.user_item, x, values=weights)
        return spmm(self.user_item, one, values=weights, residual=x + one)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, and lambda times the mean squares of ids and preferences."""
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        rows = torch.cat([F.embedding(nodes, part) for part in self.encode()], dim=1)  # (3 B, D + M C)
        users, positives, negatives = rows.tensor_split(3)
        ranking = -F.logsigmoid((users * (positives - negatives)).sum(1)).mean()
        return torch.stack([ranking, self.options.reg_weight * self._regulariser(nodes, batch.users)])

    def _regulariser(self, nodes: Tensor, batch_users: Tensor) -> Tensor:
        users, positives, negatives = F.embedding(nodes, self.ids).square().mean(1).tensor_split(3)
        total = (2 * users + positives + negatives).mean() / 2  # a user once beside each item
        for name, preference in zip(self.modalities, self.preferences):
            total = total + F.embedding(batch_users, preference).square().mean()
            if name == "image":  # as published: all of its rows besides
                total = total + preference.square().mean()
        return total

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        rows = torch.cat(self.encode(), dim=1)
        return rows[: self.num_users], rows[self.num_users :]
