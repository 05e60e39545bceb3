"""CPU path of normalize_rows: the backward pass is one inner product and one combination per row."""

from __future__ import annotations

import torch
from torch import Tensor

from ..support import accumulation_dtype

NORM_EPS = 1e-12  # the smallest norm that is divided by, as in torch.nn.functional.normalize


def normalize_rows_forward_cpu(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    exact = accumulation_dtype(x.dtype)
    norm = torch.linalg.vector_norm(x, dim=-1, dtype=exact).clamp_min_(NORM_EPS)
    return torch.mul(x, (scale / norm).unsqueeze(-1), out=x.new_empty(x.shape)), norm


def normalize_rows_backward_cpu(grad: Tensor, out: Tensor, norm: Tensor, scale: float) -> Tensor:
    along = (grad * out).sum(-1, dtype=norm.dtype) / scale**2
    along = torch.where(norm > NORM_EPS, along, 0.0)  # below eps the norm is a constant
    grad_x = torch.addcmul(grad, out, along.unsqueeze(-1), value=-1, out=grad.new_empty(grad.shape))
    return grad_x.mul_((scale / norm).unsqueeze(-1))
