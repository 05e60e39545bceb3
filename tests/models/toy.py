"""A model that needs all that the promise offers: chance within a step, and a graph of its own for each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mde_fast.kernels import CSRGraph, bpr, propagate
from mde_fast.models import Batch, Inputs, Model
from mde_fast.options import Options, at_least, option


@dataclass(frozen=True)
class ToyOptions(Options):
    owner: ClassVar[str] = "toy"

    width: int = option(8, "of an embedding", check=at_least(1))
    keep_edges: float = option(0.7, "share of the train interactions in an epoch's graph")
    drop: float = option(0.3, "share of the numbers that a step leaves out")


class Toy(Model[ToyOptions]):
    """LightGCN on a graph that is pruned anew each epoch, with dropout on its result."""

    title = "Toy: for tests"
    Options = ToyOptions
    part_names = ("bpr",)

    def __init__(self, options: ToyOptions, inputs: Inputs):
        super().__init__()
        self.options, self.num_users = options, inputs.num_users
        self.whole = inputs.graphs.user_item()
        self.pruned = self.whole
        self.table = nn.Parameter(torch.empty(inputs.num_users + inputs.num_items, options.width))
        nn.init.xavier_normal_(self.table, generator=inputs.generator)

    @classmethod
    def build(cls, options: ToyOptions, inputs: Inputs) -> Toy:
        return cls(options, inputs)

    def begin_epoch(self, generator: torch.Generator) -> bool:
        rows, columns = self.whole.rows(), self.whole.columns
        above = rows < columns
        rows, columns = rows[above], columns[above]
        kept = torch.rand(len(rows), generator=generator) < self.options.keep_edges
        rows, columns = rows[kept], columns[kept]
        self.pruned = CSRGraph.from_edges(
            torch.cat([rows, columns]), torch.cat([columns, rows]), self.whole.shape, symmetric=True
        )
        return True

    def encode(self, graph: CSRGraph) -> Tensor:
        return propagate(graph, self.table, layers=2, combine="mean")

    def loss_parts(self, batch: Batch) -> Tensor:
        h = self.encode(self.pruned)
        kept = uniform(batch.bits[0], h.numel()).view_as(h) >= self.options.drop
        users, items = (h * kept / (1 - self.options.drop)).split([self.num_users, len(h) - self.num_users])
        losses = bpr(users[:, None], items[:, None], batch.users, batch.positives, batch.negatives)
        return losses[:1]

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        h = self.encode(self.whole)
        return h[: self.num_users], h[self.num_users :]


def uniform(seed: Tensor, count: int) -> Tensor:
    """(count,) numbers from 0 up to 1 that follow from a seed () alone: a counter, mixed (as in SplitMix64)."""
    mixed = torch.arange(1, count + 1, device=seed.device) * -7046029254386353131 + seed
    for factor in (-4658895280553007687, -7723592293110705685):
        mixed = (mixed ^ ((mixed >> 30) & (2**34 - 1))) * factor
    return ((mixed >> 11) & (2**24 - 1)).float() / 2**24
