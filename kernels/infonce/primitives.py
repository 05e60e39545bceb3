"""Both directions of infonce as registered operators without autograd."""

from __future__ import annotations

from torch import Tensor

from ..dispatch import Primitive
from ..support import accumulation_dtype
from .cpu import infonce_backward_cpu, infonce_forward_cpu


def _forward_fake(unit: Tensor, weight: Tensor, nodes: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    batch, modalities, _ = unit.shape
    dtype = accumulation_dtype(unit.dtype)
    return (
        unit.new_empty(()),
        unit.new_empty(batch, dtype=dtype),
        unit.new_empty(modalities * (modalities - 1), batch, dtype=dtype),
    )


def _backward_fake(
    grad: Tensor, unit: Tensor, weight: Tensor, nodes: Tensor, logsumexp: Tensor, temperature: float
) -> Tensor:
    return unit.new_empty(unit.shape)


# Of unit rows (B, M, D): the loss (), its slope in the weights (B,), and for the backward pass the logarithm of each
# softmax's denominator, (M * (M - 1), B), a row for each ordered pair of modalities.
infonce_forward = Primitive(
    "infonce_forward(Tensor unit, Tensor weight, Tensor nodes, float temperature) -> (Tensor, Tensor, Tensor)",
    cpu=infonce_forward_cpu,
    fake=_forward_fake,
)

# The gradient of the unit rows, (B, M, D).
infonce_backward = Primitive(
    "infonce_backward(Tensor grad, Tensor unit, Tensor weight, Tensor nodes, Tensor logsumexp, float temperature) "
    "-> Tensor",
    cpu=infonce_backward_cpu,
    fake=_backward_fake,
)
