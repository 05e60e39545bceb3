"""Launchers of the native normalize_rows."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call
from ..support import accumulation_dtype
from .cpu import NORM_EPS


def normalize_rows_forward_native(x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    out, norms = x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=accumulation_dtype(x.dtype))
    call("normalize_rows_forward", ELEMENTS[x.dtype], x, norms.numel(), x.shape[-1], float(scale), NORM_EPS, out, norms)
    return out, norms


def normalize_rows_backward_native(grad: Tensor, out: Tensor, norm: Tensor, scale: float) -> Tensor:
    grad, out, norm = grad.contiguous(), out.contiguous(), norm.contiguous()
    grad_x = grad.new_empty(grad.shape)
    call(
        "normalize_rows_backward", ELEMENTS[out.dtype], grad, out, norm, norm.numel(), out.shape[-1], float(scale),
        NORM_EPS, grad_x,
    )  # fmt: skip
    return grad_x
