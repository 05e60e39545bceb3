"""LATTICE against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from item_graphs import cosines_of_nearest, of_modality, over_roots
from tiny import random_batch, tiny_dataset
from torch import Tensor
from torch.nn import functional as F
from twins import adjacency, assert_follows, copied_parameters, small_model

from mde_fast.graphs import GraphCache, GraphStore

_model = partial(small_model, "lattice", embedding_size=8, feat_embed_dim=6, knn_k=3)
MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))

MMREC_YAML = """
embedding_size: 64
feat_embed_dim: 64
weight_size: [64, 64]
learning_rate_scheduler: [0.96, 50]
lambda_coeff: 0.9
reg_weight: [0.0, 1e-05, 1e-04, 1e-03]
cf_model: lightgcn
mess_dropout: [0.1, 0.1]
n_layers: 1
knn_k: 10
learning_rate: [0.0001, 0.0005, 0.001, 0.005]
hyper_parameters: ["reg_weight", "learning_rate"]
"""


class Twin:
    """The formulas, with a copy of a model's parameters."""

    def __init__(self, model, dataset):
        self.options, self.dataset, self.leaves = model.options, dataset, copied_parameters(model)
        count = len(dataset.features)
        stacked = GraphStore(dataset.train_matrix, dataset.features, GraphCache(None)).cosine_item_graphs((3,) * count)
        self.raw = [of_modality(stacked, number, count) for number in range(count)]

    def embeddings(self) -> tuple[Tensor, Tensor]:
        options, leaves = self.options, self.leaves
        shares = torch.softmax(leaves["modal_weight"], 0)
        learned = raw = torch.zeros((), dtype=torch.float64)
        for number, matrix in enumerate(self.dataset.features.values()):
            features = leaves.get(f"towers.{number}.features", torch.from_numpy(matrix).double())
            weight, bias = (leaves[f"towers.{number}.first.{name}"] for name in ("weight", "bias"))
            learned = learned + shares[number] * cosines_of_nearest(features @ weight.T + bias, options.knn_k)
            raw = raw + shares[number] * self.raw[number]
        graph = (1 - options.lambda_coeff) * over_roots(learned) + options.lambda_coeff * raw
        h = leaves["table"][self.dataset.num_users :]
        for _ in range(options.n_layers):
            h = graph @ h
        layers = [leaves["table"]]
        walk = adjacency(self.dataset) + torch.eye(len(layers[0]), dtype=torch.float64)
        walk = (walk / walk.sum(1, keepdim=True)).float().double()
        for _ in range(options.n_ui_layers if options.cf_model == "lightgcn" else 0):
            layers.append(walk @ layers[-1])
        users, items = (sum(layers) / len(layers)).split([self.dataset.num_users, self.dataset.num_items])
        return users, items + h / h.square().sum(1, keepdim=True).sqrt()

    def parts(self, batch) -> Tensor:
        users, items = self.embeddings()
        u, i, j = users[batch.users], items[batch.positives], items[batch.negatives]
        squares = (u.square() + i.square() + j.square()).sum() / len(u) / 2
        ranking = -F.logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()
        return torch.stack([ranking, self.options.reg_weight * squares])


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"n_layers": 2, "n_ui_layers": 3, "lambda_coeff": 0.3},
        {"cf_model": "mf", "train_features": False, "lambda_coeff": 0.0},
    ),
)
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, options):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    model = _model(dataset, reg_weight=0.3, **options).double()
    assert model.begin_epoch(torch.Generator())
    twin, batch = Twin(model, dataset), random_batch(dataset)
    assert_follows(model, batch, twin.leaves, twin.parts(batch), twin.embeddings())


@pytest.mark.parametrize("modalities", MODALITIES)
def test_the_graph_of_raw_features_follows_the_equations(modalities):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    twin = Twin(_model(dataset), dataset)
    for raw, matrix in zip(twin.raw, dataset.features.values()):
        expected = over_roots(cosines_of_nearest(torch.from_numpy(matrix).double(), 3))
        torch.testing.assert_close(raw, expected, rtol=1e-5, atol=1e-6)


def test_neighbours_are_those_of_the_epochs_beginning():
    """Steps keep them, also where a run goes on in the middle of an epoch; ranking and the next epoch find new ones."""
    dataset = tiny_dataset(num_users=30, num_items=20)
    model = _model(dataset)
    model.begin_epoch(torch.Generator())
    before = model.neighbours.clone()
    with torch.no_grad():
        for tower in model.towers:
            tower.first.weight.copy_(torch.randn(tower.first.weight.shape, generator=torch.Generator().manual_seed(3)))
    ranked = model.embeddings()
    assert torch.equal(model.neighbours, before)
    assert model.resume_epoch(torch.Generator()) and torch.equal(model.neighbours, before)
    assert model.begin_epoch(torch.Generator()) and not torch.equal(model.neighbours, before)
    assert all(torch.equal(*pair) for pair in zip(ranked, model.embeddings()))


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("lattice", MMREC_YAML)
    assert found.options == {
        **{"embedding_size": 64, "feat_embed_dim": 64, "lambda_coeff": 0.9, "cf_model": "lightgcn"},
        **{"n_layers": 1, "knn_k": 10},
    }
    assert found.grids == {"reg_weight": (0.0, 1e-05, 1e-04, 1e-03), "learning_rate": (0.0001, 0.0005, 0.001, 0.005)}
