"""CPU path of normalize_rows: the backward pass is one inner product and one combination per row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_EPS = 1e-12  # the smallest norm that is divided by, as in torch.nn.functional.normalize


class NormalizeRowsFunction(torch.autograd.Function):
    """y = s x / |x|; dx = (s / |x|) (dy - <dy, x/|x|> x/|x|)."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(NORM_EPS)
        out = x * (scale / norm)
        ctx.save_for_backward(out, norm)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        out, norm = ctx.saved_tensors
        along = (grad * out).sum(-1, keepdim=True) / ctx.scale**2
        along = torch.where(norm > NORM_EPS, along, 0.0)  # below eps the norm is a constant
        return torch.addcmul(grad, out, along, value=-1).mul_(ctx.scale / norm), None
