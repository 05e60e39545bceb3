"""LightGCN (He et al., SIGIR 2020): behaviour alone, the baseline that a multi-modal model has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.dataset import InteractionDataset
from ..graphs import GraphCache
from ..graphs.user_item import user_item_graph
from ..kernels import CSRGraph, bpr, propagate
from ..runs.config import Config


class LightGCN(nn.Module):
    """An embedding per user and item, ``n_layers`` normalised convolutions, the mean over all layers, BPR.

    Of the model's options it has ``embedding_size``, ``n_layers`` and ``reg_weight``.

    Attributes:
        part_names: names of what :meth:`loss_parts` returns, in its order.
    """

    needs_features = False
    part_names = ("bpr", "regulariser")

    def __init__(self, config: Config, user_item: CSRGraph, num_users: int):
        """``user_item`` (U + I, U + I), symmetric, users first."""
        super().__init__()
        self.config, self.user_item, self.num_users = config, user_item, num_users
        num_items = user_item.shape[0] - num_users
        self.table = nn.Parameter(torch.empty(num_users + num_items, config.embedding_size))
        for rows in self.table.data.split([num_users, num_items]):
            nn.init.xavier_uniform_(rows)

    @classmethod
    def from_dataset(
        cls, config: Config, dataset: InteractionDataset, device: torch.device, cache: GraphCache
    ) -> LightGCN:
        """The model on a dataset's train interactions; its graph is too quickly made to be cached."""
        return cls(config, user_item_graph(dataset.train_matrix).to(device), dataset.num_users)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Embeddings after message passing: (U, D) and (I, D)."""
        layers = propagate(self.user_item, self.table, layers=self.config.n_layers, combine="mean")
        return layers[: self.num_users], layers[self.num_users :]

    def loss_parts(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """BPR, and lambda times half the squared norm of a triple's three rows of the table, mean over the batch (B,).

        Returns:
            (2,); the loss is their sum.
        """
        h_users, h_items = self.encode()
        losses, _ = bpr(h_users[:, None], h_items[:, None], users, positives, negatives)
        nodes = torch.cat([users, positives + self.num_users, negatives + self.num_users])
        regulariser = F.embedding(nodes, self.table).square().sum() / (2 * max(users.numel(), 1))
        return torch.stack([losses[0], self.config.reg_weight * regulariser])

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Embeddings for ranking: (U, D) and (I, D)."""
        return self.encode()
