"""Embeddings that are looked up by a node's number."""

from __future__ import annotations

import torch
from torch import nn


def node_table(num_users: int, num_items: int, width: int, generator: torch.Generator) -> nn.Parameter:
    """(U + I, D), users first: Xavier's uniform distribution for the two sides apart, as of two tables."""
    table = torch.empty(num_users + num_items, width)
    for rows in table.split([num_users, num_items]):
        nn.init.xavier_uniform_(rows, generator=generator)
    return nn.Parameter(table)
