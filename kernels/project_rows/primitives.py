"""Both directions of project_rows as registered operators without autograd."""

from __future__ import annotations

from ..dispatch import LIBRARY_MARGIN, Primitive
from .cpu import project_rows_backward_cpu, project_rows_forward_cpu


def _forward_fake(features, items, weight, bias, precision):
    return weight.new_empty((features if items is None else items).shape[0], weight.shape[0])


def _backward_fake(grad, features, items, weight, precision, train_features):
    return features.new_empty(features.shape if train_features else (0,)), weight.new_empty(weight.shape)


# (n, D): the items' rows of features, or all, times the weight, plus the bias, in the weight's type.
project_rows_forward = Primitive(
    "project_rows_forward(Tensor features, Tensor? items, Tensor weight, Tensor? bias, str precision) -> Tensor",
    cpu=project_rows_forward_cpu,
    fake=_forward_fake,
    margin=LIBRARY_MARGIN,
)

# Gradients of the features, (0,) where they are not trained, and of the weight.
project_rows_backward = Primitive(
    "project_rows_backward(Tensor grad, Tensor features, Tensor? items, Tensor weight, str precision, "
    "bool train_features) -> (Tensor, Tensor)",
    cpu=project_rows_backward_cpu,
    fake=_backward_fake,
    margin=LIBRARY_MARGIN,
)
