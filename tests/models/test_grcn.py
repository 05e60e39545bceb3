"""GRCN against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch.nn import functional as F
from twins import adjacency, assert_follows, copied_parameters, ranking_and_id_squares, small_model

MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))

_model = partial(small_model, "grcn", embedding_size=6, content_size=5, reg_weight=0.5)


def _unit(x):
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _attention(edges, scores):
    """Softmax over each row's edges; zeros elsewhere, also in a row without an edge."""
    exponent = edges * scores.exp()
    return exponent / exponent.sum(1, keepdim=True).clamp_min(1e-300)


def _dense(model, p, dataset):
    """(N, D + M C) representations of all nodes from the equations."""
    edges, num_users = adjacency(dataset), dataset.num_users
    train = edges[:num_users, num_users:]
    contents, strengths = [], []
    for m, features in enumerate(dataset.features.values()):
        projected = torch.from_numpy(features).double() @ p[f"towers.{m}.first.weight"].T + p[f"towers.{m}.first.bias"]
        users, items = _unit(p[f"preferences.{m}"]), _unit(F.leaky_relu(projected))
        if model.options.routing:
            for _ in range(model.options.routing_rounds):
                users = _unit(users + _attention(train, users @ items.T) @ items)
        x = torch.cat([users, items])
        alpha = _attention(edges, x @ x.T)
        contents.append(x + alpha @ x)
        strengths.append(alpha * p["confidence"][:, m])  # of the column: the node that the message comes from
    weights = torch.stack(strengths).max(0).values.clamp_min(0)
    x = _unit(p["ids"])
    return torch.cat([x + weights @ x + weights @ weights @ x, *contents], dim=1)


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize(
    "options",
    ({}, {"routing": True}, {"routing": True, "routing_rounds": 1}, {"routing": True, "routing_rounds": 0})
    + ({"content_size": 3}, {"embedding_size": 4}, {"reg_weight": 0.0}),
    ids=str,
)
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, options):
    dataset = tiny_dataset(modalities=modalities)
    model = _model(dataset, **options).double()
    batch = random_batch(dataset, 30)
    p = copied_parameters(model)
    rows = _dense(model, p, dataset)
    ranking, regulariser = ranking_and_id_squares(rows, p["ids"], batch, dataset.num_users)
    for m, name in enumerate(modalities):
        regulariser = regulariser + (p[f"preferences.{m}"][batch.users] ** 2).mean()
        if name == "image":
            regulariser = regulariser + (p[f"preferences.{m}"] ** 2).mean()
    expected = torch.stack([ranking, model.options.reg_weight * regulariser])
    assert_follows(model, batch, p, expected, rows.split([dataset.num_users, dataset.num_items]))


def test_edges_of_no_confidence_are_pruned():
    dataset = tiny_dataset()
    model = _model(dataset)
    with torch.no_grad():
        model.confidence.fill_(-1.0)
    ids = model.encode()[0]
    torch.testing.assert_close(ids, F.normalize(model.ids))


def test_mmrecs_file_is_understood(read_mmrec):
    found = read_mmrec(
        "grcn",
        "embedding_size: 64\nlatent_embedding: 32\nn_layers: 3\nreg_weight: [0.1, 0.01]\nlearning_rate: [1, 0.1]\n"
        'hyper_parameters: ["reg_weight", "learning_rate"]\n',
    )
    assert found.options == {"embedding_size": 64, "content_size": 32, "routing_rounds": 3}
    assert found.grids == {"reg_weight": (0.1, 0.01), "learning_rate": (1.0, 0.1)}
