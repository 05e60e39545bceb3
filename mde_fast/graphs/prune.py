"""A user-item graph with fewer edges, for models that draw one anew each epoch."""

from __future__ import annotations

import torch

from ..kernels import CSRGraph


def prune_by_degree(graph: CSRGraph, num_users: int, share: float, generator: torch.Generator) -> CSRGraph:
    """Leave out a share of the interactions, those of popular users and items first (FREEDOM, section 3.2).

    1 - ``share`` of them are drawn without replacement with odds 1 / sqrt(d_u d_i). The smallest of exponential times
    with these rates are such a draw, however many edges there are.

    Args:
        graph: (U + I, U + I), symmetric, users first.
        num_users: U.
        share: of the interactions to leave out, from 0 up to 1; the number that stays is rounded down.
        generator: on the graph's device.

    Returns:
        (U + I, U + I), symmetric, each interaction in both directions; its normalisation follows from its own degrees.
    """
    # In the rows of users every interaction stands once.
    interactions = int(graph.rowptr[num_users])
    users, items = graph.rows()[:interactions].long(), graph.columns[:interactions].long()
    scale = graph.inverse_sqrt_degrees(torch.float32)
    times = torch.empty(interactions, device=graph.device).exponential_(generator=generator)
    count = int(interactions * (1 - share))
    kept = torch.topk(times / (scale[users] * scale[items]), count, largest=False).indices
    ends = torch.stack([users[kept], items[kept]])
    rows, columns = torch.cat([ends, ends.flip(0)], dim=1)
    return CSRGraph.from_edges(rows, columns, graph.shape, symmetric=True)
