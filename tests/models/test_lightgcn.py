"""LightGCN against its equations, written out with a dense matrix."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from tiny import tiny_dataset
from torch.nn import functional as F
from twins import adjacency, normalised, small_model

from mde_fast.models import Batch

_model = partial(small_model, "lightgcn", embedding_size=8)


def _dense_embeddings(dataset, table, layers):
    a_hat = normalised(adjacency(dataset))
    every = [table]
    for _ in range(layers):
        every.append(a_hat @ every[-1])
    return (sum(every) / len(every)).split([dataset.num_users, dataset.num_items])


@pytest.mark.parametrize("layers", (0, 1, 3))
def test_losses_gradients_and_embeddings_follow_the_equations(layers):
    dataset = tiny_dataset()
    model = _model(dataset, n_layers=layers, reg_weight=0.5).double()
    triples = torch.tensor([[1, 2, 2, 0], [0, 3, 3, 8], [4, 1, 5, 0]])
    parts = model.loss_parts(Batch(*triples, bits=torch.zeros(4, dtype=torch.int64)))
    (gradient,) = torch.autograd.grad(parts.sum(), model.table)

    table = model.table.detach().clone().requires_grad_()
    users, items = _dense_embeddings(dataset, table, layers)
    u, i, j = triples
    ranking = -F.logsigmoid((users[u] * (items[i] - items[j])).sum(1)).mean()
    own_users, own_items = table.split([dataset.num_users, dataset.num_items])
    squares = sum(rows.square().sum(1) for rows in (own_users[u], own_items[i], own_items[j]))
    regulariser = 0.5 * squares.mean() / 2
    torch.testing.assert_close(parts, torch.stack([ranking, regulariser]))
    torch.testing.assert_close(gradient, torch.autograd.grad(ranking + regulariser, table)[0])
    for ours, theirs in zip(model.embeddings(), (users, items)):
        torch.testing.assert_close(ours, theirs.detach())


def test_no_features_are_needed():
    dataset = dataclasses.replace(tiny_dataset(), features={})
    assert [vectors.shape for vectors in _model(dataset).embeddings()] == [(12, 8), (9, 8)]


def test_the_seed_decides_the_initial_parameters():
    first, again, other = (_model(tiny_dataset(), seed=seed).table for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
