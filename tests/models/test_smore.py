"""SMORE against its equations, written out with dense matrices and Fourier sums."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from item_graphs import cosines_of_nearest, of_modality, over_roots
from test_mgcn import info_nce
from tiny import random_batch, tiny_dataset
from torch import Tensor
from torch.nn import functional as F
from twins import adjacency, assert_follows, copied_parameters, normalised, small_model

from mde_fast.kernels.dropout.reference import mask_reference

K = {"image": 3, "text": 4}
_model = partial(small_model, "smore", image_knn_k=3, text_knn_k=4, knn_k=2)
MODALITIES = (("image", "text"), ("audio", "image", "text"))


def _spectrum(x: Tensor) -> Tensor:
    """(I, d // 2 + 1) complex: sums over the columns of x times exp(-2 pi i n f / d), over sqrt(d)."""
    width = x.shape[1]
    return x.to(torch.complex128) @ torch.exp(-1j * _angles(width, width // 2 + 1, width)) / math.sqrt(width)


def _signal(spectrum: Tensor, width: int) -> Tensor:
    """(I, d) the real signal whose spectrum this is, each frequency but 0 and d / 2 standing for two."""
    count = spectrum.shape[1]
    twice = torch.tensor([1.0 if f in (0, width / 2) else 2.0 for f in range(count)])
    return ((spectrum * twice) @ torch.exp(1j * _angles(count, width, width))).real / math.sqrt(width)


def _angles(rows: int, columns: int, width: int) -> Tensor:
    """2 pi r c / d."""
    return 2 * math.pi / width * torch.outer(*(torch.arange(n, dtype=torch.float64) for n in (rows, columns)))


class Twin:
    """The formulas, with a copy of a model's parameters, and its item graphs."""

    def __init__(self, model, dataset):
        self.options, self.dataset, self.leaves = model.options, dataset, copied_parameters(model)
        self.names = list(dataset.features)
        count = len(self.names) + 1
        self.alike = [of_modality(model.item_item, number, count) for number in range(count)]

    def layer(self, name: str, x: Tensor) -> Tensor:
        return x @ self.leaves[f"{name}.weight"].T + self.leaves.get(f"{name}.bias", 0.0)

    def views(self) -> tuple[Tensor, list[Tensor]]:
        options, table, num_users = self.options, self.leaves["table"], self.dataset.num_users
        a_hat = normalised(adjacency(self.dataset))
        layers = [table]
        for _ in range(options.n_ui_layers):
            layers.append(a_hat @ layers[-1])
        spectra = []
        for number, name in enumerate(self.names):
            given = torch.from_numpy(self.dataset.features[name]).double()
            features = self.leaves.get(f"towers.{number}.features", given)
            spectra.append(_spectrum(self.layer(f"towers.{number}.first", features)))
        spectra.append(math.prod(spectra))
        content = []
        for number, spectrum in enumerate(spectra):
            kept = self.leaves[f"filters.{number}"]
            view = _signal(spectrum * torch.complex(kept[..., 0], kept[..., 1]), options.embedding_size)
            items = table[num_users:] * torch.sigmoid(self.layer(f"purifiers.{number}", view))
            for _ in range(options.n_layers):
                items = self.alike[number] @ items
            content.append(torch.cat([a_hat[:num_users, num_users:].float().double() @ items, items]))
        return sum(layers) / len(layers), content

    def encode(self, seed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Behaviour and what is added to it, of all nodes; dropped by a step's seed."""
        behaviour, content = self.views()
        *own, fused = content
        views = [
            torch.softmax(self.layer(f"attention.{number}", torch.tanh(self.layer(f"queries.{number}", fused))), 1)
            * one
            for number, one in enumerate(own)
        ]
        total = torch.zeros_like(behaviour)
        for number, view in enumerate([*views, fused]):
            preferred = torch.sigmoid(self.layer(f"preferences.{number}", behaviour))
            share = self.options.dropout_rate
            if seed is not None and share:
                preferred = preferred * mask_reference(preferred.shape, seed, number, share, None) / (1 - share)
            total = total + preferred * view
        return behaviour, total / len(content)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        behaviour, side = self.encode()
        users, items = (behaviour + side).split([self.dataset.num_users, self.dataset.num_items])
        return users, items

    def parts(self, batch) -> Tensor:
        options, (behaviour, side) = self.options, self.encode(batch.bits[0])
        nodes = batch.users, batch.positives + self.dataset.num_users, batch.negatives + self.dataset.num_users
        u, i, j = ((behaviour + side)[rows] for rows in nodes)
        squares = (u.square() + i.square() + j.square()).sum() / len(u) / 2
        ranking = -F.logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()
        contrast = sum(info_nce(side[rows], behaviour[rows], options.temperature) for rows in nodes[:2])
        return torch.stack([ranking, options.cl_loss * contrast, options.reg_weight * squares])


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize(
    "options",
    (
        {"embedding_size": 8},
        {"embedding_size": 7, "n_layers": 2, "n_ui_layers": 1, "dropout_rate": 0.4},
        {"embedding_size": 8, "n_layers": 0, "train_features": False},
    ),
)
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, options):
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    model = _model(dataset, reg_weight=0.3, cl_loss=0.5, **options).double()
    twin, batch = Twin(model, dataset), random_batch(dataset)
    batch.users.clamp_min_(1)  # user 0 has no content, and so no direction
    assert_follows(model, batch, twin.leaves, twin.parts(batch), twin.embeddings())


@pytest.mark.parametrize("modalities", MODALITIES)
def test_item_graphs_follow_the_equations(modalities):
    """The fused one has an edge where a modality has one, and its largest value, also where that is below 0."""
    dataset = tiny_dataset(num_users=30, num_items=20, modalities=modalities)
    *graphs, fused = Twin(_model(dataset), dataset).alike
    largest = torch.full_like(fused, -torch.inf)
    for name, graph in zip(dataset.features, graphs):
        near = cosines_of_nearest(torch.from_numpy(dataset.features[name]).double(), K.get(name, 2))
        torch.testing.assert_close(graph, over_roots(near), rtol=1e-5, atol=1e-6)
        largest = torch.maximum(largest, torch.where(graph != 0, graph, -torch.inf))
    torch.testing.assert_close(fused, torch.where(largest.isinf(), 0.0, largest), rtol=0, atol=0)


MMREC_YAML = """
embedding_size: 64
n_ui_layers: [3, 4]
n_layers: 1
learning_rate_scheduler: [0.96, 50]
lambda_coeff: 0.9
reg_weight: [1e-5, 1e-4]
learning_rate: 0.001
cl_loss: 0.01
temperature: 0.2
image_knn_k: [10, 15, 20, 40]
text_knn_k: [10, 15, 20, 40]
dropout_rate: [0, 0.1]
hyper_parameters: ["n_ui_layers", "image_knn_k", "text_knn_k", "reg_weight", "dropout_rate"]
"""


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("smore", MMREC_YAML)
    assert found.options == {
        **{"embedding_size": 64, "n_layers": 1, "cl_loss": 0.01, "temperature": 0.2, "learning_rate": 0.001},
    }
    assert found.grids == {
        **{"n_ui_layers": (3, 4), "reg_weight": (1e-5, 1e-4), "dropout_rate": (0.0, 0.1)},
        **{"image_knn_k": (10, 15, 20, 40), "text_knn_k": (10, 15, 20, 40)},
    }
