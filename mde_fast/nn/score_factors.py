"""Scores R H of a filter H over items, as factors whose inner products are the scores or the nearest to them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..kernels import CSRGraph, spmm

SPARE = 32  # random directions more than are kept
PASSES = 4  # over R H, to turn random directions towards the strongest ones

Filter = Callable[[Tensor], Tensor]


@torch.no_grad()
def score_factors(train: CSRGraph, item_filter: Filter, rank: int) -> tuple[Tensor, Tensor]:
    """X (U, k) and Y (I, k) with X Y^T = R H, exactly where ``rank`` >= I, else in the R H that is nearest in rank k.

    Of k < I the k strongest singular triples u, s, v of R H: X has the columns u sqrt(s), Y the columns v sqrt(s). They
    are found on random sums (Halko, Martinsson and Tropp, SIAM Review 53, 2011), by a seed of their own, from products
    with R H, which is never made. Of k >= I they are R and H themselves.

    Args:
        train: R, (U, I).
        item_filter: x -> H x for x (I, n), H symmetric.
        rank: the most numbers of an embedding.
    """
    num_items, device = train.shape[1], train.device
    if rank >= num_items:
        everything = torch.eye(num_items, device=device)
        return spmm(train, everything), item_filter(everything)
    backward = train.transpose()
    size = min(rank + SPARE, num_items)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(num_items, size, generator=generator).to(device)).Q
    for _ in range(PASSES):
        scores = spmm(train, item_filter(basis))
        basis = torch.linalg.qr(item_filter(spmm(backward, scores))).Q
    scores = spmm(train, item_filter(basis)).double()  # (U, size): R H along the basis
    squares, turned = torch.linalg.eigh(scores.T @ scores)  # in float64: they are squared
    squares, turned = squares.flip(0)[:rank].clamp_min(0), turned.flip(1)[:, :rank]
    roots = squares.pow(0.25)
    shrunk = torch.where(roots > 0, 1 / roots, 0.0)  # of scores of a lower rank than k
    return ((scores @ turned) * shrunk).float(), ((basis.double() @ turned) * roots).float()
