"""MGCN against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from item_graphs import cosines_of_nearest, of_modality, over_roots
from tiny import random_batch, tiny_dataset
from torch import Tensor
from torch.nn import functional as F
from twins import adjacency, assert_follows, copied_parameters, normalised, small_model

_model = partial(small_model, "mgcn", embedding_size=8, knn_k=3)
MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))


class Twin:
    """The formulas, with a copy of a model's parameters, and its item graphs."""

    def __init__(self, model, dataset):
        self.options, self.dataset, self.leaves = model.options, dataset, copied_parameters(model)
        self.names = list(dataset.features)
        self.alike = [of_modality(model.item_item, number, len(self.names)) for number in range(len(self.names))]

    def layer(self, name: str, x: Tensor) -> Tensor:
        return x @ self.leaves[f"{name}.weight"].T + self.leaves.get(f"{name}.bias", 0.0)

    def views(self) -> tuple[Tensor, list[Tensor]]:
        options, table, num_users = self.options, self.leaves["table"], self.dataset.num_users
        a_hat = normalised(adjacency(self.dataset))
        layers = [table]
        for _ in range(options.n_ui_layers):
            layers.append(a_hat @ layers[-1])
        content = []
        for number, name in enumerate(self.names):
            given = torch.from_numpy(self.dataset.features[name]).double()
            features = self.layer(f"towers.{number}.first", self.leaves.get(f"towers.{number}.features", given))
            items = table[num_users:] * torch.sigmoid(self.layer(f"purifiers.{number}", features))
            for _ in range(options.n_layers):
                items = self.alike[number] @ items
            content.append(torch.cat([a_hat[:num_users, num_users:].float().double() @ items, items]))
        return sum(layers) / len(layers), content

    def encode(self) -> tuple[Tensor, Tensor]:
        """Behaviour and what is added to it, of all nodes."""
        behaviour, content = self.views()
        scores = torch.stack([self.layer("attention", torch.tanh(self.layer("query", one))) for one in content])
        common = sum(share * one for share, one in zip(torch.softmax(scores, 0), content))
        own = [
            torch.sigmoid(self.layer(f"preferences.{number}", behaviour)) * (one - common)
            for number, one in enumerate(content)
        ]
        return behaviour, (sum(own) + common) / (len(content) + 1)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        behaviour, side = self.encode()
        users, items = (behaviour + side).split([self.dataset.num_users, self.dataset.num_items])
        return users, items

    def parts(self, batch) -> Tensor:
        options, (behaviour, side) = self.options, self.encode()
        nodes = batch.users, batch.positives + self.dataset.num_users, batch.negatives + self.dataset.num_users
        u, i, j = ((behaviour + side)[rows] for rows in nodes)
        squares = (u.square() + i.square() + j.square()).sum() / len(u) / 2
        ranking = -F.logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()
        contrast = sum(info_nce(side[rows], behaviour[rows], options.temperature) for rows in nodes[:2])
        return torch.stack([ranking, options.cl_loss * contrast, options.reg_weight * squares])


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    queries, keys = (rows / rows.square().sum(1, keepdim=True).sqrt() for rows in (queries, keys))
    exponents = (queries @ keys.T / temperature).exp()
    return -(exponents.diagonal() / exponents.sum(1)).log().mean()


def _batch(dataset):
    """Without nodes that have neither neighbours nor, so, content: their direction is nobody's."""
    batch = random_batch(dataset)
    batch.users.clamp_min_(1)
    return batch


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize(
    "options", ({}, {"n_layers": 2, "n_ui_layers": 3, "temperature": 0.7}, {"n_layers": 0, "train_features": False})
)
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, options):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    model = _model(dataset, reg_weight=0.3, cl_loss=0.5, **options).double()
    twin, batch = Twin(model, dataset), _batch(dataset)
    assert_follows(model, batch, twin.leaves, twin.parts(batch), twin.embeddings())


@pytest.mark.parametrize("modalities", MODALITIES)
def test_item_graphs_follow_the_equations(modalities):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    for graph, matrix in zip(Twin(_model(dataset), dataset).alike, dataset.features.values()):
        expected = over_roots(cosines_of_nearest(torch.from_numpy(matrix).double(), 3))
        torch.testing.assert_close(graph, expected, rtol=1e-5, atol=1e-6)


MMREC_YAML = """
embedding_size: 64
n_ui_layers: 2
n_layers: 1
learning_rate_scheduler: [0.96, 50]
lambda_coeff: 0.9
reg_weight: 1e-04
knn_k: 10
learning_rate: 0.001
cl_loss: [0.001, 0.01, 0.1]
hyper_parameters: ["cl_loss"]
"""


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("mgcn", MMREC_YAML)
    assert found.options == {
        **{"embedding_size": 64, "n_ui_layers": 2, "n_layers": 1, "reg_weight": 1e-4, "knn_k": 10},
        "learning_rate": 0.001,
    }
    assert found.grids == {"cl_loss": (0.001, 0.01, 0.1)}
