"""Ground truth of normalize_rows: divide by the norm."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..support import accumulation_dtype


def normalize_rows_reference(tables: Sequence[Tensor], scale: float) -> tuple[Tensor, Tensor]:
    x = tables[0] if len(tables) == 1 else torch.cat(tuple(tables))
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-12)
    return scale * x / norm, norm.squeeze(-1).to(accumulation_dtype(x.dtype))
