"""What a user hears from the users with most items in common (DRAGON, DualGNN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import CSRGraph


class UserNeighbours(nn.Module):
    """h_u + sum_v a_uv h_v over the k users v with most items in common with u; a_u is the softmax of those numbers.

    A table of k places for each user instead of a sparse matrix: a training step needs the rows of its batch alone. A
    user with fewer than k neighbours has places of weight 0. MMRec fills them anew before every epoch with copies of
    neighbours, each drawn from the list as it is by then, and takes the softmax over all k places; so does
    :meth:`refill`.
    """

    def __init__(self, graph: CSRGraph, k: int, *, filled: bool):
        """
        Args:
            graph: (U, U), at most k edges a row, values that add up to 1 in a row (``GraphStore.co_occurrence``).
            k: places in the table.
            filled: whether places without a neighbour are going to be filled.
        """
        super().__init__()
        self.filled = filled
        self.degrees = nn.Buffer(graph.degrees().long(), persistent=False)  # (U,)
        taken = torch.arange(k, device=graph.device) < self.degrees[:, None]  # (U, k) places that have a neighbour
        self.neighbours = nn.Buffer(torch.zeros_like(taken, dtype=torch.int32), persistent=False)
        self.weights = nn.Buffer(torch.zeros_like(taken, dtype=torch.float32), persistent=False)
        self.neighbours[taken], self.weights[taken] = graph.columns.int(), graph.edge_values()
        if filled:
            self.epoch_neighbours = nn.Buffer(self.neighbours.clone(), persistent=False)
            self.epoch_weights = nn.Buffer(self.weights.clone(), persistent=False)

    def forward(self, h: Tensor, users: Tensor) -> Tensor:
        """(B, E) of some users (B,), from h (U, E) of all; in an epoch whose places are filled, with those."""
        if self.filled:
            return _hear(h, users, self.epoch_neighbours[users], self.epoch_weights[users])
        return _hear(h, users, self.neighbours[users], self.weights[users])

    def all_users(self, h: Tensor) -> Tensor:
        """(U, E) of everyone, from h (U, E); with nothing filled."""
        return _hear(h, torch.arange(len(h), device=h.device), self.neighbours, self.weights)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """:meth:`refill` where places are filled; the tables stay where they are."""
        if self.filled:
            self.refill(generator)

    def refill(self, generator: torch.Generator) -> None:
        """Draw what an epoch's empty places get; in place, so that a recorded step reads it.

        The list grows from left to right: a place beyond a user's neighbours gets what one of the places before it
        has, each as likely as the other.
        """
        num_users, k = self.neighbours.shape
        device = self.neighbours.device
        chance = torch.rand(num_users, k, generator=generator, device=device)
        source = torch.arange(k, device=device).repeat(num_users, 1)  # (U, k) which neighbour a place has
        for place in range(1, k):
            before = (chance[:, place] * place).long().clamp_max(place - 1)
            copied = source.gather(1, before[:, None])[:, 0]
            source[:, place] = torch.where(place < self.degrees, source[:, place], copied)
        weights = self.weights.gather(1, source)  # in proportion to exp(items in common)
        self.epoch_weights.copy_(weights / weights.sum(1, keepdim=True).clamp_min(1e-30))
        self.epoch_neighbours.copy_(self.neighbours.gather(1, source))


def _hear(h: Tensor, users: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    """(B, E): each user's own row of h (U, E), and those of its neighbours (B, k), weighted."""
    rows = torch.cat([users[:, None], neighbours.long()], dim=1)
    weights = torch.cat([weights.new_ones(len(users), 1), weights], dim=1)
    return F.embedding_bag(rows, h, mode="sum", per_sample_weights=weights)
