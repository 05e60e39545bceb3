"""A graph filter on behaviour and content, nothing learned: after MM-GF (Roh et al., arXiv 2503.04406, 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..graphs.blend import blend_weights
from ..kernels import CSRGraph, spmm
from ..nn.score_factors import score_factors
from ..options import Options, Range, at_least, option, share
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class MMGFOptions(Options):
    """alpha and power are those of the published code."""

    owner: ClassVar[str] = "mmgf"

    embedding_size: int = option(
        512, "k: scores are the nearest of rank k, exact from as many as there are items on", check=at_least(1)
    )
    alpha: float = option(
        0.89, "of D_U^-alpha R D_I^(alpha - 1): users' degrees rather than items'", check=share, search=Range(0.5, 1.0)
    )
    power: float = option(
        0.67, "s, of every weight of the graph of behaviour", check=at_least(0), search=Range(0.2, 1.2)
    )
    knn_k: int = option(
        40, "neighbours of an item in each modality's graph", check=at_least(1), search=Range(5, 80, log=True)
    )
    content_weight: float = option(
        3.0, "of the graph of content beside that of behaviour", check=at_least(0), search=Range(0.1, 30.0, log=True)
    )
    blend_weights: tuple[float, ...] = option(
        (), "share of each modality in the graph of content; default 0.1 for image and 0.9 for text, else equal"
    )


class MMGF(Model[MMGFOptions]):
    """Scores R (P + w C): P of Turbo-CF, C = (S + S^T) / 2, S the blended graph of items' nearest by content."""

    title = "MMGF (2025): a graph filter on behaviour and content, without training"
    Options = MMGFOptions
    min_modalities = 1
    learns = False
    users: Tensor
    items: Tensor

    def __init__(self, train: CSRGraph, similar: CSRGraph, content: CSRGraph, options: MMGFOptions):
        """``train`` (U, I); ``similar`` P (I, I), symmetric; ``content`` S (I, I), not."""
        super().__init__()
        backward, half = content.transpose(), options.content_weight / 2

        def item_filter(x: Tensor) -> Tensor:
            scaled = half * x
            return spmm(similar, x, residual=spmm(content, scaled, residual=spmm(backward, scaled)))

        users, items = score_factors(train, item_filter, options.embedding_size)
        self.register_buffer("users", users, persistent=False)
        self.register_buffer("items", items, persistent=False)

    @classmethod
    def build(cls, options: MMGFOptions, inputs: Inputs) -> MMGF:
        graphs = inputs.graphs
        weights = blend_weights(options.blend_weights, tuple(inputs.features))
        similar = graphs.item_similarity(options.alpha, options.power)
        return cls(graphs.interactions(), similar, graphs.blended_item_graph(options.knn_k, weights), options)

    def loss_parts(self, batch: Batch) -> Tensor:
        """(0,): nothing is learned."""
        return torch.zeros(0, device=self.device)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, k) and (I, k)."""
        return self.users, self.items
