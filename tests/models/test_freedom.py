"""FREEDOM against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch import Tensor
from torch.nn import functional as F
from twins import copied_parameters, normalised, small_model

from mde_fast.errors import InputError
from mde_fast.graphs.prune import prune_by_degree
from mde_fast.graphs.user_item import user_item_graph

SMALL = {"embedding_size": 8, "knn_k": 3}

_model = partial(small_model, "freedom", **SMALL)


def _dense(graph) -> Tensor:
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    matrix[graph.rows().long(), graph.columns.long()] = 1
    return matrix


def _item_graph(dataset, k: int, weights: list[float]) -> Tensor:
    """S of section 3.1: each modality's k nearest by cosine, the item itself among them, values 1 / k in float32."""
    total = torch.zeros(dataset.num_items, dataset.num_items)
    for weight, matrix in zip(weights, dataset.features.values()):
        unit = matrix.astype(np.float64) / np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
        nearest = np.argsort(-(unit @ unit.T), axis=1)[:, :k]
        for item, neighbours in enumerate(nearest):
            total[item, neighbours] += weight / k
    return total.double()


WEIGHTS = {("image", "text"): [0.1, 0.9], ("audio", "image", "text"): [1 / 3] * 3, ("text",): [1.0]}


@pytest.mark.parametrize("options", ({}, {"n_layers": 0}, {"n_layers": 3, "item_layers": 2}, {"train_features": False}))
@pytest.mark.parametrize("modalities", WEIGHTS)
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, options):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    model = _model(dataset, dropout=0.5, reg_weight=0.3, **options).double()
    assert model.begin_epoch(torch.Generator().manual_seed(0))
    batch = random_batch(dataset)
    parts = model.loss_parts(batch)
    parameters = copied_parameters(model)
    gradients = torch.autograd.grad(parts.sum(), list(model.parameters()))

    def encode(adjacency: Tensor) -> tuple[Tensor, Tensor]:
        layers = [parameters["table"]]
        for _ in range(options.get("n_layers", 2)):
            layers.append(normalised(adjacency) @ layers[-1])
        users, items = (sum(layers) / len(layers)).split([dataset.num_users, dataset.num_items])
        alike = parameters["table"][dataset.num_users :]
        for _ in range(options.get("item_layers", 1)):
            alike = _item_graph(dataset, 3, WEIGHTS[modalities]) @ alike
        return users, items + alike

    def ranking(users: Tensor, items: Tensor) -> Tensor:
        u, i, j = users[batch.users], items[batch.positives], items[batch.negatives]
        return -F.logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()

    users, items = encode(_dense(model.pruned))
    expected = [ranking(users, items)]
    for number, matrix in enumerate(dataset.features.values()):
        features = parameters.get(f"towers.{number}.features", torch.from_numpy(matrix).double())
        weight, bias = (parameters[f"towers.{number}.first.{name}"] for name in ("weight", "bias"))
        expected.append(0.3 * ranking(users, features @ weight.T + bias))
    torch.testing.assert_close(parts, torch.stack(expected), rtol=1e-10, atol=1e-12)
    truth = torch.autograd.grad(sum(expected), list(parameters.values()))
    for name, own, other in zip(parameters, gradients, truth):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-11, msg=name)
    for own, other in zip(model.embeddings(), encode(_dense(model.whole))):
        torch.testing.assert_close(own, other.detach(), rtol=1e-10, atol=1e-12)


def test_an_epoch_keeps_some_interactions_in_both_directions():
    graph = user_item_graph(tiny_dataset(num_users=30, num_items=20).train_matrix)
    pruned = prune_by_degree(graph, 30, 0.8, torch.Generator().manual_seed(0))
    whole, kept = _dense(graph), _dense(pruned)
    assert pruned.num_edges == 2 * int(graph.num_edges / 2 * 0.2) == int(kept.sum())
    assert torch.equal(kept, kept.T) and not (kept > whole).any()


def test_popular_ends_lose_more_edges():
    """Over many draws the odds are 1 / sqrt(d_u d_i), as long as few are taken."""
    graph = user_item_graph(tiny_dataset(num_users=40, num_items=30).train_matrix)
    interactions = int(graph.rowptr[40])
    users, items = graph.rows()[:interactions].long(), graph.columns[:interactions].long()
    odds = (graph.degrees().double()[users] * graph.degrees().double()[items]).rsqrt()
    odds /= odds.sum()
    generator, drawn = torch.Generator().manual_seed(1), torch.zeros(interactions, dtype=torch.float64)
    place = {pair: number for number, pair in enumerate(zip(users.tolist(), items.tolist()))}
    for _ in range(4000):
        pruned = prune_by_degree(graph, 40, 1 - 1.5 / interactions, generator)
        drawn[place[int(pruned.rows()[0]), int(pruned.columns[0])]] += 1
    error = (drawn / 4000 - odds).abs()
    assert bool((error < 5 * (odds / 4000).sqrt()).all())


def test_nothing_is_pruned_without_dropout():
    model = _model(tiny_dataset(), dropout=0.0)
    assert not model.begin_epoch(torch.Generator()) and model.pruned is model.whole


def test_blend_weights_must_match_the_modalities():
    with pytest.raises(InputError, match="3 weights for 2 modalities"):
        _model(tiny_dataset(), blend_weights=(0.2, 0.3, 0.5))
