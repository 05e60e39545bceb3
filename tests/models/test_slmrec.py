"""SLMRec against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch import Tensor
from twins import EXACT, adjacency, copied_parameters, normalised, small_model

from mde_fast.errors import InputError
from mde_fast.runs.config import make_config

_model = partial(small_model, "slmrec", embedding_size=8)


class Twin:
    """The formulas, with a copy of a model's parameters."""

    def __init__(self, model, dataset):
        self.options = model.options
        self.parameters = copied_parameters(model)
        names = [name for name in dataset.features if name != "text"] + ["text"] * ("text" in dataset.features)
        self.features = []
        for name in names:
            rows = torch.from_numpy(dataset.features[name])
            # Normalised in float32, as they are stored.
            self.features.append((rows / rows.square().sum(1, keepdim=True).sqrt()).double())
        self.num_users, self.num_items = dataset.num_users, dataset.num_items
        plain = adjacency(dataset)
        degrees = plain.sum(1).clamp_min(1)
        self.adjacency = {
            "pre": normalised(plain),
            "gcmc": plain / degrees[:, None],
            "plain": plain,
        }[model.options.adj_type]

    def layer(self, name: str, x: Tensor) -> Tensor:
        return x @ self.parameters[f"{name}.weight"].T + self.parameters[f"{name}.bias"]

    def propagated(self, items: Tensor) -> tuple[Tensor, Tensor]:
        every = [torch.cat([self.parameters["user_table"], items])]
        for _ in range(self.options.n_layers):
            every.append(self.adjacency @ every[-1])
        users, items = (sum(every) / len(every)).split([self.num_users, self.num_items])
        return users, items

    def encode(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of users and of items: a table for the ids and one for each modality."""
        content = [self.layer(f"towers.{number}.first", rows) for number, rows in enumerate(self.features)]
        users, items = zip(*(self.propagated(table) for table in (self.parameters["item_table"], *content)))
        return list(users), list(items)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.encode()
        return self.layer("user_fusion", torch.cat(users, 1)), self.layer("item_fusion", torch.cat(items, 1))

    def parts(self, batch) -> Tensor:
        options, u, i = self.options, batch.users, batch.positives
        users, items = self.embeddings()
        users, items = (rows / rows.square().sum(1, keepdim=True).sqrt() for rows in (users[u], items[i]))
        main = _info_nce(users, items, options.temperature)
        _, tables = self.encode()
        chained, fac = tables[0], torch.zeros((), dtype=torch.float64)
        for number, table in enumerate(tables[1:]):
            if len(tables) == 3 and number == 1 and options.unused_layer:
                chained = self.layer("unused_layer", chained)
            chained = self.layer(f"id_layers.{number}", chained)
            partner = self.layer(f"modality_layers.{number}", table)
            fac = fac + _info_nce(chained[i], partner[i], options.ssl_temp)
        squares = sum(parameter.square().sum() for parameter in self.parameters.values())
        return torch.stack([main, options.ssl_alpha * fac, options.weight_decay / 2 * squares])


def _info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    exponents = (queries @ keys.T / temperature).exp()
    return -(exponents.diagonal() / exponents.sum(1)).log().mean()


@pytest.mark.parametrize(
    "modalities", (("image",), ("image", "text"), ("text", "image"), ("image", "text", "audio")), ids=",".join
)
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"n_layers": 0},
        {"n_layers": 1, "ssl_temp": 0.5},
        {"n_layers": 2, "ssl_alpha": 1.0, "weight_decay": 0.1},
        {"n_layers": 4, "embedding_size": 5, "temperature": 0.7},
        {"ssl_alpha": 0.0, "weight_decay": 0.0},
        {"unused_layer": False},
        {"adj_type": "gcmc"},
        {"adj_type": "plain", "n_layers": 2, "temperature": 1.0},
        {"propagate_once": False},
        {"propagate_once": False, "n_layers": 2},
    ),
    ids=str,
)
def test_losses_gradients_and_embeddings_follow_the_equations(options, modalities):
    dataset = tiny_dataset(modalities=modalities)
    model = _model(dataset, **options).double()
    twin, batch = Twin(model, dataset), random_batch(dataset, 11)
    once = model.options.propagate_once
    for tower, features in zip(model.towers, twin.features):
        features = model._at_every_node(features) if once else features
        torch.testing.assert_close(tower.features, features, rtol=1e-5, atol=1e-6)
        tower.features = features  # not a rounding of float32 apart
    if once:
        model.reach = model._at_every_node(torch.ones(dataset.num_items, 1, dtype=torch.float64))
    parts, expected = model.loss_parts(batch), twin.parts(batch)
    torch.testing.assert_close(parts, expected, **EXACT)
    weights = torch.tensor([1.0, 0.7, 1.3], dtype=torch.float64)
    gradients = torch.autograd.grad((parts * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(twin.parameters.values()))
    for name, ours, one in zip(twin.parameters, gradients, theirs):
        torch.testing.assert_close(ours, one, **EXACT, msg=name)
    for ours, one in zip(model.embeddings(), twin.embeddings()):
        torch.testing.assert_close(ours, one.detach(), **EXACT)


@pytest.mark.parametrize("modalities", (("image",), ("image", "text"), ("image", "text", "audio")))
def test_features_propagated_once_or_embeddings_each_step(modalities):
    """The same model in float32, but for the order of sums."""
    dataset = tiny_dataset(num_users=40, num_items=30, modalities=modalities)
    once, each = (_model(dataset, propagate_once=value) for value in (True, False))
    results = []
    for model in (once, each):
        parts = model.loss_parts(random_batch(dataset))
        parts.sum().backward()
        results.append([parts.detach(), *model.embeddings(), *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


def test_bf16_features():
    dataset = tiny_dataset(num_users=40, num_items=30)
    for once in (True, False):
        exact, rounded = (_model(dataset, propagate_once=once, precision=precision) for precision in ("fp32", "bf16"))
        assert rounded.towers[0].features.dtype == torch.bfloat16
        batch = random_batch(dataset)
        torch.testing.assert_close(rounded.loss_parts(batch), exact.loss_parts(batch), rtol=2e-2, atol=1e-2)


def test_weight_decay_is_adams():
    """A step of Adam with its own weight decay, and one on our loss, end at the same parameters."""
    dataset = tiny_dataset()
    results = []
    for own, adams in ((0.05, 0.0), (0.0, 0.05)):
        model = _model(dataset, weight_decay=own).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=adams)
        for seed in range(3):
            optimizer.zero_grad()
            model.loss_parts(random_batch(dataset, seed=seed)).sum().backward()
            optimizer.step()
        results.append([parameter.detach() for parameter in model.parameters()])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_the_layer_of_the_third_modality():
    """With two modalities alone; its parameters are the only difference."""
    counts = {}
    for modalities in (("image",), ("image", "text"), ("image", "text", "audio")):
        for unused_layer in (True, False):
            model = _model(tiny_dataset(modalities=modalities), unused_layer=unused_layer)
            counts[len(modalities), unused_layer] = len(list(model.parameters()))
    assert counts[1, True] == counts[1, False] and counts[3, True] == counts[3, False]
    assert counts[2, True] == counts[2, False] + 2


def test_negatives_and_bits_are_not_looked_at():
    dataset = tiny_dataset()
    model, batch = _model(dataset), random_batch(dataset)
    first = model.loss_parts(batch)
    batch.negatives.fill_(0)
    batch.bits.fill_(0)
    assert torch.equal(first, model.loss_parts(batch))


MMREC_YAML = """\
recdim: 64
layer_num: 3
reg: [0.0001, 0.001, 0.01, 0.1]
ssl_task: 'FAC'
learning_rate: [0.0001, 0.001, 0.01, 0.1]
weight_decay: 1e-4
ssl_alpha: [0.01, 0.05, 0.1, 0.5, 1.0]
ssl_temp: [0.1, 0.2, 0.5, 1.0]
dropout_rate: 0.3
mm_fusion_mode: 'concat'
temp: 0.2
init: 'xavier'
adj_type: 'pre'
hyper_parameters: ["learning_rate", "ssl_temp", "ssl_alpha", "reg"]
"""


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("slmrec", MMREC_YAML)
    assert found.options == {
        "embedding_size": 64,
        "n_layers": 3,
        "weight_decay": 1e-4,
        "temperature": 0.2,
        "adj_type": "pre",
    }
    assert found.grids == {
        "learning_rate": (0.0001, 0.001, 0.01, 0.1),
        "ssl_alpha": (0.01, 0.05, 0.1, 0.5, 1.0),
        "ssl_temp": (0.1, 0.2, 0.5, 1.0),
    }
    assert all(key in found.notes[0] for key in ("reg", "ssl_task", "dropout_rate", "mm_fusion_mode", "init"))


def test_a_graph_that_is_not_here_is_refused():
    with pytest.raises(InputError, match="is not one of pre, gcmc, plain"):
        make_config({"model": "slmrec", "adj_type": "mean"})
