"""Adam's step, which writes in place and has no gradient, as a registered operator."""

from __future__ import annotations

from ..dispatch import Primitive
from .cpu import adam_step_cpu


def _step_fake(parameter, gradient, first, second, step, learning_rate, beta1, beta2, eps, stream):
    return None


# All but step () float32 are of one shape and type.
adam_step_ = Primitive(
    "adam_step(Tensor(a!) parameter, Tensor gradient, Tensor(b!) first, Tensor(c!) second, Tensor step, "
    "float learning_rate, float beta1, float beta2, float eps, int stream) -> ()",
    cpu=adam_step_cpu,
    fake=_step_fake,
)
