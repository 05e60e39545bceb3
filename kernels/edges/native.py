"""Launchers of the native edge_softmax."""

from __future__ import annotations

from torch import Tensor

from ..native import ELEMENTS, call


def edge_softmax_forward_native(
    rowptr: Tensor, rows: Tensor, pieces: Tensor | None, splits: Tensor | None, num_slots: int, scores: Tensor
) -> Tensor:
    scores = scores.contiguous()
    out = scores.new_empty(scores.shape)
    call(
        "edge_softmax_forward", ELEMENTS[out.dtype], rowptr.element_size(), rowptr, scores, rowptr.numel() - 1, out
    )  # fmt: skip
    return out


def edge_softmax_backward_native(
    rowptr: Tensor,
    rows: Tensor,
    pieces: Tensor | None,
    splits: Tensor | None,
    num_slots: int,
    grad: Tensor,
    alpha: Tensor,
) -> Tensor:
    out = alpha.new_empty(alpha.shape)
    call(
        "edge_softmax_backward", ELEMENTS[out.dtype], rowptr.element_size(), rowptr, grad.contiguous(),
        alpha.contiguous(), rowptr.numel() - 1, out,
    )  # fmt: skip
    return out
