"""Ground truth of cosine_losses: the cosines of the batch's rows, pair by pair."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cosine_losses_reference(
    x: Tensor, target: Tensor, rows: Tensor | None, target_rows: Tensor | None, pairs: Sequence[tuple[int, int]]
) -> Tensor:
    x = x if rows is None else x[rows]
    target = target if target_rows is None else target[target_rows]
    return torch.stack([(1 - _cosine(x[:, one], target[:, other])).sum() / max(len(x), 1) for one, other in pairs])


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """(B,) as torch.nn.functional.cosine_similarity has it: a row shorter than its eps is divided by that."""
    norm, other_norm = (torch.linalg.vector_norm(rows, dim=1).clamp_min(1e-8) for rows in (one, other))
    return ((one / norm[:, None]) * (other / other_norm[:, None])).sum(1)
