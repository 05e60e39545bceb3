"""CPU path of a ranking's two steps: index the seen items, and find the largest scores by way of group maxima."""

from __future__ import annotations

import torch
from torch import Tensor

ITEMS_PER_GROUP = 5  # the quickest for the best 20 to 50 of 7,000 items


def mask_seen_cpu(scores: Tensor, users: Tensor, rowptr: Tensor, columns: Tensor) -> None:
    start = rowptr[users].long()
    counts = rowptr[users + 1].long() - start
    rows = torch.arange(users.numel(), device=users.device).repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    edges = torch.arange(rows.numel(), device=users.device) + (start - first)[rows]
    scores[rows, columns[edges].long()] = float("-inf")


def select_cpu(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """One place more than asked for shows whether the last of the k is tied with one that was left out."""
    values, items = largest(scores, min(k + 1, scores.shape[1]))
    tied = torch.nonzero((values[:, 1:] == values[:, :-1]).any(1)).flatten()
    values, items = values[:, :k].contiguous(), items[:, :k].contiguous()
    if tied.numel():
        values[tied], items[tied] = _settle_ties(scores[tied], values[tied])
    return values, items.masked_fill_(values == float("-inf"), -1)


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``torch.topk``, faster for long rows: the best ``count`` items lie in the ``count`` groups with the best maxima.

    A row's maxima are read at memory speed, and only what lies in those groups is compared number by number.
    """
    width = scores.shape[1]
    groups = width // ITEMS_PER_GROUP
    if groups <= 2 * count:
        return torch.topk(scores, count, dim=1)
    # Group g has the items g, g + groups, g + 2 * groups, ...; up to ITEMS_PER_GROUP - 1 items at the end have none.
    maxima = scores[:, : ITEMS_PER_GROUP * groups].unflatten(1, (ITEMS_PER_GROUP, groups)).amax(1)
    best_groups = largest(maxima, count)[1]
    members = torch.arange(0, ITEMS_PER_GROUP * groups, groups, device=scores.device)[:, None] + best_groups[:, None]
    ungrouped = torch.arange(ITEMS_PER_GROUP * groups, width, device=scores.device)
    candidates = torch.cat([members.flatten(1), ungrouped.expand(scores.shape[0], -1)], dim=1)
    values, places = torch.topk(scores.gather(1, candidates), count, dim=1)
    return values, candidates.gather(1, places)


def _settle_ties(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """(T, k) scores and items in their one right order, from scores (T, I) and each row's k largest (T, k)."""
    k = values.shape[1]
    last = values[:, -1:]
    above, equal = ~(scores <= last), scores == last
    chosen = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    items = torch.nonzero(chosen)[:, 1].view(-1, k)  # ascending, which a stable sort keeps for equal scores
    values, order = torch.sort(scores.gather(1, items), dim=1, descending=True, stable=True)
    return values, items.gather(1, order)
