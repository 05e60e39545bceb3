"""The two steps of a ranking that are more than a library call, as registered operators."""

from __future__ import annotations

import torch

from ..dispatch import Primitive
from .cpu import mask_seen_cpu, select_cpu


def _mask_seen_fake(scores, users, rowptr, columns):
    return None


def _select_fake(scores, k):
    return scores.new_empty(scores.shape[0], k), scores.new_empty(scores.shape[0], k, dtype=torch.int64)


# scores (B, I): -inf, in place, for the items of each of the rows (B,) of a CSR graph.
mask_seen = Primitive(
    "mask_seen(Tensor(a!) scores, Tensor users, Tensor rowptr, Tensor columns) -> ()",
    cpu=mask_seen_cpu,
    fake=_mask_seen_fake,
)

# scores (B, I) -> the k largest of each row, descending, and their items; equal scores by ascending item, -1 for -inf.
select = Primitive(
    "select(Tensor scores, int k) -> (Tensor, Tensor)",
    cpu=select_cpu,
    fake=_select_fake,
)
