"""Turbo-CF against its equations, written out with dense matrices."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from tiny import tiny_dataset
from torch import Tensor
from twins import small_model

_model = partial(small_model, "turbocf")


def dense_interactions(dataset) -> Tensor:
    return torch.from_numpy(dataset.train_matrix.toarray()).double()


def dense_similarity(dataset, alpha: float, power: float) -> Tensor:
    """P of the paper, (I, I)."""
    r = dense_interactions(dataset)
    of_users, of_items = (r.sum(axis).clamp_min(1) for axis in (1, 0))
    scaled = of_users[:, None] ** -alpha * r * of_items ** (alpha - 1)
    p = scaled.T @ scaled
    return torch.where(p > 0, p**power, 0.0)


FILTERS = {
    "linear": lambda p: p,
    "second": lambda p: 2 * p - p @ p,
    "third": lambda p: p + 0.01 * (-p @ p @ p + 10 * p @ p - 29 * p),
}


def dense_scores(model) -> Tensor:
    users, items = model.embeddings()
    return users.double() @ items.double().T


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("alpha, power", ((0.6, 0.7), (0.0, 1.0), (1.0, 1.4)))
def test_scores_follow_the_equations(kind, alpha, power):
    dataset = tiny_dataset(num_users=40, num_items=25)
    model = _model(dataset, embedding_size=25, alpha=alpha, power=power, filter=kind)
    expected = dense_interactions(dataset) @ FILTERS[kind](dense_similarity(dataset, alpha, power))
    torch.testing.assert_close(dense_scores(model), expected, rtol=1e-5, atol=1e-6)


def test_fewer_numbers_give_the_nearest_scores():
    """As far from the scores as the singular value decomposition says that their rank allows, and no farther."""
    dataset = tiny_dataset(num_users=150, num_items=100, density=0.1)
    scores = dense_interactions(dataset) @ dense_similarity(dataset, 0.6, 0.7)
    strengths = torch.linalg.svdvals(scores)
    for k in (1, 5, 30, 99):
        model = _model(dataset, embedding_size=k)
        users, items = model.embeddings()
        assert users.shape == (150, k) and items.shape == (100, k)
        error = (dense_scores(model) - scores).norm()
        assert error <= 1.01 * strengths[k:].norm() + 1e-4 * strengths[0]
        torch.testing.assert_close(users.square().sum(0), items.square().sum(0), rtol=1e-3, atol=1e-3)


def test_nobody_and_nothing_stay_zero():
    """User 0 has no interaction and nobody has the last item in training."""
    users, items = _model(tiny_dataset(), embedding_size=4).embeddings()
    assert not users[0].any() and float(items[-1].abs().max()) < 1e-6
    assert torch.isfinite(users).all() and torch.isfinite(items).all()


def test_no_features_are_needed():
    dataset = dataclasses.replace(tiny_dataset(), features={})
    assert [vectors.shape for vectors in _model(dataset).embeddings()] == [(12, 9), (9, 9)]
