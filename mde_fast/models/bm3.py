"""BM3 (Zhou et al., WWW 2023): bootstrap latent representations, no negatives and no graph but users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import CSRGraph, cosine_losses, dropout, propagate
from ..nn.linear import linear
from ..nn.tables import node_table
from ..options import Options, at_least, option, share_left_out
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class BM3Options(Options):
    """As in MMRec, whose grid is n_layers 1 and 2, dropout 0.3 and 0.5, reg_weight 0.1 and 0.01."""

    owner: ClassVar[str] = "bm3"
    mmrec_ignored: ClassVar = {"feat_embed_dim": "never read by the published code, where embedding_size is both"}

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    n_layers: int = option(1, "L, layers on the user-item graph", check=at_least(0), search=(1, 2))
    dropout: float = option(
        0.5, "share of a target's numbers that a step leaves out", check=share_left_out, search=(0.3, 0.5)
    )
    cl_weight: float = option(
        2.0, "of the losses of modalities (published code; the paper has none, which is 1)", check=at_least(0)
    )
    reg_weight: float = option(0.1, "lambda, of the regulariser", check=at_least(0), search=(0.1, 0.01))
    regulariser: str = option(
        "norms",
        "norms: Frobenius norms of all h over the number of items (published code); squares: the batch's mean (paper)",
        choices=("norms", "squares"),
    )
    train_features: bool = option(True, "learn the items' raw features too, as the published code does")


class BM3(Model[BM3Options]):
    """LightGCN whose embeddings, passed through a predictor, shall point where others point after dropout.

    Online: embeddings h of users and items (LightGCN; items with their own row added) and a linear projection of each
    modality, all through one linear predictor. Targets: the same h and projections with numbers dropped, without a
    gradient.
    """

    title = "BM3 (2023): bootstrapped, without negatives"
    Options = BM3Options
    min_modalities = 1
    part_names = ("reconstruction", "alignment", "masked", "regulariser")

    def __init__(self, options: BM3Options, inputs: Inputs, user_item: CSRGraph):
        """``user_item`` (U + I, U + I), symmetric, users first."""
        super().__init__()
        self.options, self.user_item = options, user_item
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        width, generator = options.embedding_size, inputs.generator
        self.table = node_table(self.num_users, self.num_items, width, generator)
        self.predictor = linear(width, width, generator)
        nn.init.xavier_normal_(self.predictor.weight, generator=generator)
        self.towers = inputs.towers(width, trained=options.train_features)

    @classmethod
    def build(cls, options: BM3Options, inputs: Inputs) -> BM3:
        return cls(options, inputs, inputs.graphs.user_item())

    def encode(self) -> tuple[Tensor, Tensor]:
        """h before the predictor: (U, D) mean over LightGCN's layers, and (I, D) the same plus the items' own rows."""
        layers = propagate(self.user_item, self.table, layers=self.options.n_layers, combine="mean")
        users, items = layers.split([self.num_users, self.num_items])
        return users, items + self.table[self.num_users :]

    def loss_parts(self, batch: Batch) -> Tensor:
        """The losses of section 3.3 on the batch's users and their items; its negatives are not looked at."""
        options, users, items = self.options, batch.users, batch.positives
        all_users, all_items = self.encode()
        online = [
            F.embedding(users, all_users),
            F.embedding(items, all_items),
            *(tower(items) for tower in self.towers),
        ]
        user, item, *modalities = range(len(online))
        pairs = (  # a prediction and a target
            *((user, item), (item, user)),  # L_rec: a user's prediction points at the item, the item's at the user
            *((modality, item) for modality in modalities),  # L_align: a modality's points at the item
            *((modality, modality) for modality in modalities),  # L_mask: and at the modality itself
        )
        predicted = self.predictor(torch.stack(online, dim=1))  # (B, 2 + M, D), as the targets
        losses = cosine_losses(predicted, torch.stack(self._targets(online, batch), dim=1), pairs=pairs)
        reconstruction, alignment, masked = (part.sum() for part in losses.split([2, len(modalities), len(modalities)]))
        if options.regulariser == "norms":
            regulariser = (torch.linalg.vector_norm(all_users) + torch.linalg.vector_norm(all_items)) / self.num_items
        else:
            regulariser = (online[user].square().sum() + online[item].square().sum()) / max(len(users), 1)
        parts = reconstruction, options.cl_weight * alignment, options.cl_weight * masked
        return torch.stack([*parts, options.reg_weight * regulariser])

    @torch.no_grad()
    def _targets(self, online: list[Tensor], batch: Batch) -> list[Tensor]:
        """Users, items and modalities with numbers dropped, (B, D) each.

        The published code drops numbers of whole tables and then takes the batch's rows; here the rows come first, and
        the mask of a row is the one that it has in the whole.
        """
        share, seed = self.options.dropout, batch.bits[0]
        rows = batch.users, *[batch.positives] * (len(online) - 1)
        return [dropout(h, share, seed, stream=number, rows=rows[number]) for number, h in enumerate(online)]

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Both sides after the predictor: (U, D) and (I, D)."""
        users, items = self.encode()
        return self.predictor(users), self.predictor(items)
