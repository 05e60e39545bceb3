"""GRCN against its equations, written out with dense matrices, and against numbers of the published code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch.nn import functional as F

from mde_fast.models.grcn import GRCN
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config, read_options

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from make_grcn import COMPARISON  # noqa: E402

CPU = torch.device("cpu")
MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))


def _model(dataset, **options) -> GRCN:
    options = {"embedding_size": 6, "content_size": 5, "cache_dir": "none", "reg_weight": 0.5, **options}
    return make_model(make_config({"model": "grcn", **options}), dataset, CPU)


def _unit(x):
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _attention(edges, scores):
    """Softmax over each row's edges; zeros elsewhere, also in a row without an edge."""
    exponent = edges * scores.exp()
    return exponent / exponent.sum(1, keepdim=True).clamp_min(1e-300)


def _dense(model, p, dataset):
    """(N, D + M C) representations of all nodes from the equations."""
    train = torch.from_numpy(dataset.train_matrix.toarray().astype(np.float64))
    num_users, num_items = train.shape
    edges = torch.zeros(num_users + num_items, num_users + num_items, dtype=torch.float64)
    edges[:num_users, num_users:] = train
    edges[num_users:, :num_users] = train.T
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
    parts = model.loss_parts(batch)
    parts.sum().backward()

    p = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    rows = _dense(model, p, dataset)
    u, i, j = batch.users, batch.positives + dataset.num_users, batch.negatives + dataset.num_users
    ranking = -torch.sigmoid((rows[u] * rows[i]).sum(1) - (rows[u] * rows[j]).sum(1)).log().mean()
    ids = p["ids"]
    regulariser = torch.cat([ids[u] ** 2 + ids[i] ** 2, ids[u] ** 2 + ids[j] ** 2]).mean()
    for m, name in enumerate(modalities):
        regulariser = regulariser + (p[f"preferences.{m}"][u] ** 2).mean()
        if name == "image":
            regulariser = regulariser + (p[f"preferences.{m}"] ** 2).mean()
    expected = torch.stack([ranking, model.options.reg_weight * regulariser])
    torch.testing.assert_close(parts, expected, rtol=1e-10, atol=1e-12)
    expected.sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, p[name].grad, rtol=1e-9, atol=1e-12, msg=name)
    for ours, theirs in zip(model.embeddings(), rows.split([dataset.num_users, dataset.num_items])):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_edges_of_no_confidence_are_pruned():
    dataset = tiny_dataset()
    model = _model(dataset)
    with torch.no_grad():
        model.confidence.fill_(-1.0)
    ids = model.encode()[0]
    torch.testing.assert_close(ids, F.normalize(model.ids))


@pytest.mark.parametrize("number", range(len(COMPARISON.cases)))
def test_loss_gradients_and_scores_are_the_published_codes(number):
    COMPARISON.check(number)


def test_mmrecs_file_is_understood(tmp_path):
    path = tmp_path / "GRCN.yaml"
    path.write_text(
        "embedding_size: 64\nlatent_embedding: 32\nn_layers: 3\nreg_weight: [0.1, 0.01]\nlearning_rate: [1, 0.1]\n"
        'hyper_parameters: ["reg_weight", "learning_rate"]\n'
    )
    found = read_options(path, ("grcn",))
    assert found.options == {"embedding_size": 64, "content_size": 32, "routing_rounds": 3}
    assert found.grids == {"reg_weight": (0.1, 0.01), "learning_rate": (1.0, 0.1)}
