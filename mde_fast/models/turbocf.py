"""Turbo-CF (Park, Shin and Shin, SIGIR 2024): a low-pass filter on the items' similarity, and nothing learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..kernels import CSRGraph, spmm
from ..nn.score_factors import score_factors
from ..options import Options, Range, at_least, option, share
from .model import Batch, Inputs, Model

# Coefficients of P, P^2, P^3: nearer and nearer to the ideal low-pass filter.
FILTERS = {"linear": (1.0,), "second": (2.0, -1.0), "third": (1 - 0.29, 0.1, -0.01)}


@dataclass(frozen=True)
class TurboCFOptions(Options):
    """The authors' best: alpha 0.6, power 0.7 (Gowalla); 0.6, 1, ``second`` (Yelp); 0.5, 1.4 (Amazon-book)."""

    owner: ClassVar[str] = "turbocf"

    embedding_size: int = option(
        512, "k: scores are the nearest of rank k, exact from as many as there are items on", check=at_least(1)
    )
    alpha: float = option(
        0.6, "of D_U^-alpha R D_I^(alpha - 1): users' degrees rather than items'", check=share, search=Range(0.3, 1.0)
    )
    power: float = option(0.7, "s, of every weight of the items' graph", check=at_least(0), search=Range(0.2, 1.6))
    filter: str = option(
        "linear",
        "of the graph P: linear P, second 2 P - P^2, third P + 0.01 (-P^3 + 10 P^2 - 29 P)",
        choices=tuple(FILTERS),
        search=tuple(FILTERS),
    )


class TurboCF(Model[TurboCFOptions]):
    """Scores R f(P), P = (R~^T R~)^s for R~ = D_U^-alpha R D_I^(alpha - 1), the power taken weight by weight."""

    title = "TurboCF (2024): a graph filter on behaviour, without training"
    Options = TurboCFOptions
    learns = False
    users: Tensor
    items: Tensor

    def __init__(self, train: CSRGraph, similar: CSRGraph, options: TurboCFOptions):
        """``train`` (U, I), ``similar`` P (I, I), symmetric."""
        super().__init__()
        coefficients = FILTERS[options.filter]

        def item_filter(x: Tensor) -> Tensor:
            total = coefficients[-1] * x  # Horner's scheme
            for coefficient in reversed(coefficients[:-1]):
                total = spmm(similar, total, residual=coefficient * x)
            return spmm(similar, total)

        users, items = score_factors(train, item_filter, options.embedding_size)
        self.register_buffer("users", users, persistent=False)
        self.register_buffer("items", items, persistent=False)

    @classmethod
    def build(cls, options: TurboCFOptions, inputs: Inputs) -> TurboCF:
        graphs = inputs.graphs
        return cls(graphs.interactions(), graphs.item_similarity(options.alpha, options.power), options)

    def loss_parts(self, batch: Batch) -> Tensor:
        """(0,): nothing is learned."""
        return torch.zeros(0, device=self.device)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, k) and (I, k)."""
        return self.users, self.items
