"""MDE: modality discrimination enhancement for multi-modal recommendation (2025), from the operators."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import InteractionDataset
from ..errors import InputError
from ..graphs import GraphCache, Graphs, build_graphs
from ..kernels import bpr, infonce, node_losses, normalize_rows, propagate, spmm
from ..kernels.node_losses import difference_weight
from ..nn.preferences import Preferences
from ..nn.towers import FeatureTower
from ..runs.config import Config

logger = logging.getLogger("mde_fast")


class MDE(nn.Module):
    """The model of the paper: towers, three graphs, preferences, and the losses of eq. 11.

    Every option is described by :class:`mde_fast.runs.config.Config`, with what the paper says and what is our choice.

    Attributes:
        part_names: names of what :meth:`loss_parts` returns, in its order.
    """

    needs_features = True

    def __init__(self, config: Config, features: dict[str, Tensor], graphs: Graphs):
        """
        Args:
            config: the model's options.
            features: modality -> (I, F_m), two modalities or more.
            graphs: the dataset's graphs.
        """
        super().__init__()
        self.config = config
        self.graphs = graphs
        self.modalities = tuple(features)
        self.num_items = next(iter(features.values())).shape[0]
        self.num_users = graphs.user_item.shape[0] - self.num_items
        self.user_table = nn.Parameter(torch.empty(self.num_users, len(features), config.embedding_size))
        for modality in range(len(features)):
            nn.init.xavier_normal_(self.user_table.data[:, modality])
        self.towers = nn.ModuleList(
            FeatureTower(
                matrix,
                config.embedding_size,
                projection=config.projection,
                hidden=config.projection_hidden,
                precision=config.precision,
            )
            for matrix in features.values()
        )
        self.preferences = Preferences(config, self.num_users, self.num_items, self.modalities)
        self.part_names = ("bpr", *(f"bpr_{name}" for name in features), "mda", "msa", "regulariser")

    @classmethod
    def from_dataset(cls, config: Config, dataset: InteractionDataset, device: torch.device, cache: GraphCache) -> MDE:
        """The model on a dataset's train interactions and features.

        Raises:
            InputError: features of one modality only, or weights that do not fit the modalities.
        """
        modalities = tuple(dataset.features)
        if len(modalities) < 2:
            raise InputError(
                f"{dataset.name}: {config.model} needs features of two modalities or more, found "
                f"{', '.join(modalities) or 'none'}; name the files with --features image=...,text=..."
            )
        started = time.perf_counter()
        graphs = build_graphs(
            dataset,
            user_k=config.user_k,
            item_k=config.knn_k,
            item_graph=config.item_graph,
            blend_weights=_blend_weights(config, modalities),
            cache=cache,
        ).to(device)
        logger.info("graphs ready in %.1f s", time.perf_counter() - started)
        features = {name: torch.from_numpy(matrix).float() for name, matrix in dataset.features.items()}
        return cls(config, features, graphs)

    def encode(self) -> tuple[Tensor, Tensor]:
        """H of eq. 4: (U, M, D) and (I, M, D)."""
        config, graphs = self.config, self.graphs
        shape = (len(self.modalities), config.embedding_size)
        items = torch.stack([tower() for tower in self.towers], dim=1)
        inputs = torch.cat([self.user_table, items])
        if config.row_normalize:
            inputs = normalize_rows(inputs, scale=config.input_scale)
        elif config.input_scale != 1:
            inputs = inputs * config.input_scale
        layers = propagate(graphs.user_item, inputs.flatten(1), layers=config.n_layers, combine=config.layer_combine)
        users, items = layers.split([self.num_users, self.num_items])
        users = spmm(graphs.user_user, users, residual=users)
        items = items.reshape(graphs.item_item.shape[0], -1)  # one row per item, or per item and modality
        items = spmm(graphs.item_item, items, residual=items)
        return users.unflatten(1, shape), items.reshape(self.num_items, *shape)

    def loss_parts(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """The addends of eq. 11 for a batch of triples (B,), each with its coefficient, as ``part_names`` calls them.

        Returns:
            (parts,); the loss is their sum.
        """
        config, preferences = self.config, self.preferences
        h_users, h_items = self.encode()
        mda, msa = h_users.new_zeros(()), h_users.new_zeros(())
        for h, weights, nodes in (
            (h_users, preferences.trade_off("users"), users),
            (h_items, preferences.trade_off("items"), positives),
        ):
            side_mda, side_msa = node_losses(
                h,
                **weights,
                detach=config.nlt_detach,
                mda=config.mda if config.mda_weight else "none",
                msa=config.msa if config.msa == "cosine" and config.msa_weight else "none",
            )
            mda = mda + side_mda
            msa = msa + (side_msa if config.msa != "infonce" else self._contrast(h, weights, nodes))
        # Last, so that its backward pass comes first: its scratch is large, and no other gradient of H is held yet.
        ranking, regulariser = bpr(
            h_users,
            h_items,
            users,
            positives,
            negatives,
            user_logits=preferences.user_logits(),
            item_logits=preferences.item_fusion_logits(),
            user_table=self.user_table,
            fusion=config.fusion,
        )
        if not config.modality_losses:
            ranking = torch.cat([ranking[:1], ranking[1:] * 0])
        regulariser = regulariser + preferences.regulariser()
        weighted = torch.stack([config.mda_weight * mda, config.msa_weight * msa, config.reg_weight * regulariser])
        return torch.cat([ranking, weighted])

    def _contrast(self, h: Tensor, weights: dict[str, Tensor | None], nodes: Tensor) -> Tensor:
        """InfoNCE over the batch's nodes, weighted by w_sim = 1 - w_dif (eq. 7)."""
        if not self.config.msa_weight:
            return h.new_zeros(())
        w_dif = difference_weight(h.shape[0], **weights, detach=self.config.nlt_detach, like=h)
        rows = F.embedding(nodes, h.flatten(1)).unflatten(1, h.shape[1:])
        return infonce(rows, weight=1 - w_dif[nodes], nodes=nodes, temperature=self.config.temperature)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Fused embeddings of eq. 5 for ranking: (U, E) and (I, E), E = M * D, or D for ``fusion="sum"``."""
        h_users, h_items = self.encode()
        return (
            self._fuse(h_users, self.preferences.user_logits()),
            self._fuse(h_items, self.preferences.item_fusion_logits()),
        )

    def _fuse(self, h: Tensor, logits: Tensor | None) -> Tensor:
        if logits is not None:
            h = torch.softmax(logits, dim=1)[:, :, None] * h
        return h.flatten(1) if self.config.fusion == "concat" else h.sum(1)


def _blend_weights(config: Config, modalities: tuple[str, ...]) -> tuple[float, ...]:
    """The weight of each modality's item graph under ``item_graph: blend``."""
    if config.blend_weights:
        if len(config.blend_weights) != len(modalities):
            raise InputError(
                f"blend_weights: {len(config.blend_weights)} weights for {len(modalities)} modalities "
                f"({', '.join(modalities)})"
            )
        return config.blend_weights
    if modalities == ("image", "text"):
        return 0.1, 0.9  # DRAGON's
    return (1 / len(modalities),) * len(modalities)
