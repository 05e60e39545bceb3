"""Embeddings that are looked up by a node's number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..world import ALONE, COLUMNS, World


def node_table(
    num_users: int, num_items: int, width: int, generator: torch.Generator, world: World = ALONE
) -> nn.Parameter:
    """(U + I, D), users first: Xavier's uniform distribution for the two sides apart, as of two tables.

    Of several processes each has its columns, (U + I, D / P).
    """
    table = torch.empty(num_users + num_items, width)
    for rows in table.split([num_users, num_items]):
        nn.init.xavier_uniform_(rows, generator=generator)
    world.columns(width)
    return world.parameter(table, COLUMNS)


def mean_squares(norms: Tensor, nodes: Tensor, width: int) -> Tensor:
    """Of the rows of a table that a batch reads, the mean of their squared numbers, added up over modalities: ().

    From the rows' norms (R, M), which :func:`mde_fast.kernels.normalize_rows_with_norms` has at no cost and whose
    gradient it adds to the rows' own, so that no second gradient of the size of the table is made.

    Args:
        norms: (R, M) of the rows (R, M, D).
        nodes: (B,) rows.
        width: D.
    """
    return F.embedding(nodes, norms).square().sum() / max(nodes.numel() * width, 1)
