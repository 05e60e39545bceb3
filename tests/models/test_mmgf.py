"""MM-GF's filter against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from test_turbocf import dense_interactions, dense_scores, dense_similarity
from tiny import tiny_dataset
from torch import Tensor
from twins import small_model

from mde_fast.errors import InputError

_model = partial(small_model, "mmgf")


def _content(dataset, k: int, weights: list[float]) -> Tensor:
    """C, (I, I): each modality's k nearest by cosine, the item itself among them, with 1 / k; both ways, halved."""
    total = torch.zeros(dataset.num_items, dataset.num_items, dtype=torch.float64)
    for weight, matrix in zip(weights, dataset.features.values()):
        unit = matrix.astype(np.float64) / np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
        nearest = np.argsort(-(unit @ unit.T), axis=1)[:, :k]
        for item, neighbours in enumerate(nearest):
            total[item, neighbours] += weight / k
    return (total + total.T) / 2


WEIGHTS = {("image", "text"): [0.1, 0.9], ("audio", "image", "text"): [1 / 3] * 3, ("text",): [1.0]}


@pytest.mark.parametrize("modalities", WEIGHTS)
@pytest.mark.parametrize("options", ({}, {"alpha": 0.3, "power": 1.2, "content_weight": 0.5}, {"content_weight": 0.0}))
def test_scores_follow_the_equations(modalities, options):
    dataset = tiny_dataset(num_users=40, num_items=25, modalities=modalities)
    similar = dense_similarity(dataset, options.get("alpha", 0.89), options.get("power", 0.67))
    content = _content(dataset, 5, WEIGHTS[modalities])
    expected = dense_interactions(dataset) @ (similar + options.get("content_weight", 3.0) * content)
    model = _model(dataset, embedding_size=25, knn_k=5, **options)
    torch.testing.assert_close(dense_scores(model), expected, rtol=1e-5, atol=1e-6)


def test_fewer_numbers_give_the_nearest_scores():
    dataset = tiny_dataset(num_users=150, num_items=100, density=0.1)
    content = _content(dataset, 5, WEIGHTS["image", "text"])
    scores = dense_interactions(dataset) @ (dense_similarity(dataset, 0.89, 0.67) + 3 * content)
    strengths = torch.linalg.svdvals(scores)
    error = (dense_scores(_model(dataset, embedding_size=20, knn_k=5)) - scores).norm()
    assert error <= 1.01 * strengths[20:].norm()


def test_an_item_that_nobody_has_is_recommended_for_its_content():
    dataset = tiny_dataset(num_users=40, num_items=25)
    cold = dense_scores(_model(dataset, embedding_size=25, knn_k=5))[:, -1]
    assert bool((cold > 0).any())


def test_blend_weights_must_match_the_modalities():
    with pytest.raises(InputError, match="3 weights for 2 modalities"):
        _model(tiny_dataset(), blend_weights=(0.2, 0.3, 0.5))
