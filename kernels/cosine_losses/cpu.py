"""CPU path of cosine_losses: a row's inner products all at once, both directions from them and the norms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..support import accumulation_dtype, scatter_rows

EPS = 1e-8  # the smallest norm that is divided by, as in torch.nn.functional.cosine_similarity


def cosine_losses_forward_cpu(
    x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    own, others = _gather(x, rows), _gather(target, target_rows)
    cosines = _products(own, others.mT).div_(_norms(own)[:, :, None]).div_(_norms(others)[:, None, :])
    total = cosines.sum(0)  # (K, L)
    losses = len(own) - torch.stack([total[one, other] for one, other in two_by_two(pairs)])
    return losses.div_(max(len(own), 1)).to(x.dtype)


def cosine_losses_backward_cpu(
    grad: Tensor, x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[int]
) -> Tensor:
    own, others = _gather(x, rows), _gather(target, target_rows)
    norms = _norms(own)
    of_cosine = own.new_zeros(own.shape[1], others.shape[1])  # (K, L) d loss / d cosine
    for place, (one, other) in enumerate(two_by_two(pairs)):
        of_cosine[one, other] -= grad[place] / max(len(own), 1)
    slopes = of_cosine / norms[:, :, None] / _norms(others)[:, None, :]  # d loss / d inner product
    along = _products(own, others.mT).mul_(slopes).sum(2).div_(norms).div_(norms)
    along.masked_fill_(norms <= EPS, 0.0)  # below eps the norm is a constant
    gradient = _products(slopes, others).addcmul_(own, along[:, :, None], value=-1)
    return gradient.to(x.dtype) if rows is None else scatter_rows(gradient, rows, x)


def two_by_two(pairs: Sequence[int]) -> Iterator[tuple[int, int]]:
    return zip(pairs[::2], pairs[1::2])


def _gather(table: Tensor, rows: Tensor | None) -> Tensor:
    """(B, K, D) in the precision of sums."""
    return (table if rows is None else table.index_select(0, rows)).to(accumulation_dtype(table.dtype))


def _norms(rows: Tensor) -> Tensor:
    """(B, K), at least EPS."""
    return torch.linalg.vector_norm(rows, dim=2).clamp_min_(EPS)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product for each row of the batch; autocast, which has no business here, leaves ``out=`` alone."""
    return torch.bmm(left, right, out=left.new_empty(left.shape[0], left.shape[1], right.shape[2]))
