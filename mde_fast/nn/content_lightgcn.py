"""LightGCN over item content, each modality by itself: what DRAGON and DualGNN begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..kernels import CSRGraph, propagate
from ..options import Options, at_least, option
from ..world import ALONE, Part, World
from .by_columns import normalize_rows_with_norms
from .factors import Factors
from .tables import mean_squares
from .towers import feature_towers


@dataclass(frozen=True)
class ContentOptions(Options):
    """What the options of DRAGON and DualGNN have in common."""

    embedding_size: int = option(64, "d, dimensions of an embedding", check=at_least(1))
    projection_hidden: int = option(256, "hidden width of the towers", check=at_least(1))
    n_layers: int = option(2, "L, layers on the user-item graph", check=at_least(0))
    user_k: int = option(40, "neighbours in the user co-occurrence graph", check=at_least(1))
    user_graph_filled: bool = option(
        False,
        "in each epoch give users with fewer than user_k neighbours copies of theirs until they have as many "
        "(published code); ranking is without",
    )


class ContentLightGCN(nn.Module):
    """X_m = rownorm([P_m ; MLP_m(F_m)]), then the SUM of the layers 0..L of LightGCN on it, for every modality m.

    P_m (U, D) is how each user prefers the content of modality m, MLP_m(F_m) (I, D) what the items have of it. Users
    hear of an item's content in layer 1 only.
    """

    def __init__(
        self,
        features: Mapping[str, Tensor | Factors],
        user_item: CSRGraph,
        options: ContentOptions,
        *,
        precision: str,
        generator: torch.Generator,
        world: World = ALONE,
    ):
        """
        Args:
            features: modality -> (I, F_m), or their factors.
            user_item: (U + I, U + I), symmetric, users first.
            options: D, the width of the towers' middle, and L.
            precision: of the towers' products.
            generator: of the initial parameters.
            world: the processes that have the columns.
        """
        super().__init__()
        self.user_item, self.layers, self.world = user_item, options.n_layers, world
        num_users = user_item.shape[0] - next(iter(features.values())).shape[0]
        preferences = torch.empty(num_users, len(features), options.embedding_size)
        for modality in range(len(features)):
            nn.init.xavier_normal_(preferences[:, modality], generator=generator)
        world.columns(options.embedding_size)
        self.preferences = world.parameter(preferences, Part(2))  # P
        self.towers = feature_towers(
            features,
            options.embedding_size,
            hidden=options.projection_hidden,
            initial="pytorch",
            precision=precision,
            generator=generator,
            world=world,
        )

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """(U, M, D) and (I, M, D), and the norms of the P_m (U, M), for :meth:`regulariser`."""
        items = [tower().to(self.preferences.dtype) for tower in self.towers]
        x, norms = normalize_rows_with_norms(self.world, self.preferences, items)  # (U + I, M, D)
        total = propagate(self.user_item, x.flatten(1), layers=self.layers, combine="sum").view_as(x)
        users, items = total.tensor_split([len(self.preferences)])
        return users, items, norms[: len(self.preferences)]

    def regulariser(self, norms: Tensor, users: Tensor, weights: Tensor) -> Tensor:
        """The mean squares of the P_m of some users (B,), added up over modalities, and that of alpha (U, M): ()."""
        width = self.preferences.shape[2] * self.world.size
        return mean_squares(norms, users, width) + weights.square().mean()


def modality_weights(num_users: int, num_modalities: int, generator: torch.Generator) -> nn.Parameter:
    """alpha (U, M), how much each modality counts for a user: a softmax to begin with, free afterwards.

    So the published code of DRAGON and DualGNN, which with one modality weighs nothing: then it stays 1.
    """
    drawn = nn.init.xavier_normal_(torch.empty(num_users, num_modalities), generator=generator)
    return nn.Parameter(torch.softmax(drawn, dim=1), requires_grad=num_modalities > 1)
