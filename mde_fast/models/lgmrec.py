"""LGMRec (Guo et al., AAAI 2024): local graphs of behaviour and content, and global hyperedges."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import bpr, dropout, normalize_rows, propagate, spmm
from ..nn.contrast import InfoNCE
from ..nn.gumbel import gumbel_noise
from ..nn.tables import node_table
from ..nn.towers import FeatureTower, feature_towers
from ..options import Options, at_least, option, positive
from .model import Batch, Inputs, Model


def _share(value: float) -> str | None:
    return None if 0 < value <= 1 else "must be above 0, and 1 or less"


@dataclass(frozen=True)
class LGMRecOptions(Options):
    """As in MMRec, whose file has the authors' values for Baby."""

    owner: ClassVar[str] = "lgmrec"

    embedding_size: int = option(64, "d, dimensions of an embedding", mmrec=("feat_embed_dim",), check=at_least(1))
    cf_model: str = option(
        "lightgcn", "behaviour: lightgcn, or mf, the ids without a graph", choices=("lightgcn", "mf")
    )
    n_ui_layers: int = option(2, "layers of behaviour on the user-item graph", check=at_least(0), search=(1, 2, 3))
    n_mm_layers: int = option(2, "layers of content on the user-item graph", check=at_least(0), search=(1, 2, 3))
    n_hyper_layer: int = option(1, "layers over the hyperedges", check=at_least(1), search=(1, 2))
    hyper_num: int = option(4, "K, hyperedges of each modality", check=at_least(1), search=(4, 16, 64))
    keep_rate: float = option(0.5, "share of hyperedge weights that a step keeps", check=_share, search=(0.2, 0.4, 0.5))
    alpha: float = option(0.3, "of the hyperedges' embeddings", check=at_least(0), search=(0.2, 0.3, 0.6))
    temperature: float = option(0.2, "tau, of hyperedge weights and of the contrast", check=positive)
    cl_weight: float = option(0.0001, "of the contrast of modalities, a sum over the batch", check=at_least(0))
    reg_weight: float = option(1e-6, "of the norms of a batch's embeddings, over its size", check=at_least(0))


class LGMRec(Model[LGMRecOptions]):
    """Behaviour and content on the user-item graph, and hyperedges over which all items of a kind hear of each other.

    U users, I items, N = U + I nodes, M modalities, K hyperedges of each.
    """

    title = "LGMRec (2024): local graphs and global hyperedges"
    Options = LGMRecOptions
    min_modalities = 2
    part_names = ("bpr", "contrast", "regulariser")
    inverse_degrees: Tensor

    def __init__(self, options: LGMRecOptions, inputs: Inputs):
        super().__init__()
        self.options, graphs = options, inputs.graphs
        self.user_item, self.interactions = graphs.user_item(), graphs.interactions()
        self.from_items = graphs.normalised_interactions()
        self.from_users = self.from_items.transpose().prepare()
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        width, generator = options.embedding_size, inputs.generator
        self.table = node_table(self.num_users, self.num_items, width, generator)
        # Of each modality, d numbers of content and K of how much an item belongs to a hyperedge.
        self.towers = feature_towers(
            inputs.frozen_features(),
            width + options.hyper_num,
            precision=inputs.precision,
            generator=generator,
            bias=False,
        )
        for tower in self.towers:
            assert isinstance(tower, FeatureTower)
            for rows in tower.first.weight.data.split([width, options.hyper_num]):
                nn.init.xavier_uniform_(rows, generator=generator)
        degrees = self.interactions.degrees().clamp_min(1).float()
        self.register_buffer("inverse_degrees", 1 / degrees[:, None, None], persistent=False)  # (U, 1, 1)

    @classmethod
    def build(cls, options: LGMRecOptions, inputs: Inputs) -> LGMRec:
        return cls(options, inputs)

    def encode(self, seed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings of all nodes (N, d), and those by each modality's hyperedges (M, N, d).

        Args:
            seed: () of a step, by which hyperedge weights are drawn and dropped; none to rank.
        """
        options, split = self.options, [self.options.embedding_size, self.options.hyper_num]
        items = torch.stack([tower() for tower in self.towers], dim=1)  # (I, M, d + K)
        heard = spmm(self.interactions, items.flatten(1)).view(self.num_users, *items.shape[1:])
        content, belonging = items.split(split, dim=2)
        heard_content, heard_belonging = heard.split(split, dim=2)
        behaviour = self.table
        if options.cf_model == "lightgcn":
            behaviour = propagate(self.user_item, self.table, layers=options.n_ui_layers, combine="mean")
        local = behaviour + self._on_the_graph(heard_content * self.inverse_degrees, content).sum(1)
        weights = self._weights(torch.cat([heard_belonging, belonging]), seed)
        apart = self._over_hyperedges(weights, behaviour[self.num_users :])
        return local + options.alpha * normalize_rows(apart.sum(0)), apart

    def _on_the_graph(self, users: Tensor, items: Tensor) -> Tensor:
        """(N, M, d) of length 1, content of users (U, M, d) and items (I, M, d) after ``n_mm_layers`` of A-hat."""
        shape = items.shape[1:]
        users, items = users.flatten(1), items.flatten(1)
        for _ in range(self.options.n_mm_layers):
            users, items = spmm(self.from_items, items), spmm(self.from_users, users)
        return normalize_rows(torch.cat([users, items]).unflatten(1, shape))

    def _weights(self, belonging: Tensor, seed: Tensor | None) -> Tensor:
        """(N, M, K) a softmax over hyperedges, with Gumbel noise and dropout in a step."""
        if seed is None:
            return torch.softmax(belonging / self.options.temperature, dim=2)
        noisy = belonging + gumbel_noise(tuple(belonging.shape), seed).to(belonging.dtype)
        return dropout(torch.softmax(noisy / self.options.temperature, dim=2), 1 - self.options.keep_rate, seed)

    def _over_hyperedges(self, weights: Tensor, items: Tensor) -> Tensor:
        """(M, N, d): what items (I, d) tell hyperedges, and these all nodes, by weights (N, M, K)."""
        weights = weights.transpose(0, 1)  # (M, N, K)
        of_items = weights[:, self.num_users :].transpose(1, 2)  # (M, K, I)
        h = torch.matmul(of_items, items)  # (M, K, d)
        for _ in range(self.options.n_hyper_layer - 1):
            h = torch.bmm(of_items, torch.bmm(of_items.transpose(1, 2), h))
        return torch.bmm(weights, h)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, the contrast of a node's hyperedge embeddings by different modalities, and a batch's norms."""
        options, count = self.options, len(batch.users)
        h, apart = self.encode(batch.bits[0])
        nodes = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        rows = F.embedding(nodes, h)
        triple = torch.arange(len(nodes), device=nodes.device).tensor_split(3)
        losses = bpr(rows[:, None], rows[:, None], *triple)
        contrast = torch.stack(
            [
                InfoNCE.apply(F.embedding(own, one), other, options.temperature, own) * count
                for side, own in zip(self._sides(normalize_rows(apart)), (batch.users, batch.positives))
                for one, other in itertools.combinations(side.unbind(0), 2)
            ]
        ).sum()
        norms = torch.stack([torch.linalg.vector_norm(part) for part in rows.tensor_split(3)]).sum()
        parts = losses[0], options.cl_weight * contrast, options.reg_weight * norms / max(count, 1)
        return torch.stack(parts)

    def _sides(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Users and items of (M, N, d)."""
        users, items = nodes.split([self.num_users, self.num_items], dim=1)
        return users, items

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d), with nothing drawn and nothing dropped."""
        users, items = self.encode()[0].split([self.num_users, self.num_items])
        return users, items
