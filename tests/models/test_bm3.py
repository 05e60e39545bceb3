"""BM3 against its equations, written out with dense matrices and masks of whole tables."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch import Tensor
from twins import EXACT, adjacency, copied_parameters, normalised, small_model

from mde_fast.kernels.dropout.reference import mask_reference

_model = partial(small_model, "bm3", embedding_size=8)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(1) / (one.square().sum(1).sqrt() * other.square().sum(1).sqrt())


class Twin:
    """The formulas, with a copy of a model's parameters."""

    def __init__(self, model, dataset):
        self.options = model.options
        self.parameters = copied_parameters(model)
        self.features = [tower.features.detach().double() for tower in model.towers]
        for number, features in enumerate(self.features):
            self.features[number] = self.parameters.get(f"towers.{number}.features", features)
        self.num_users, self.num_items = dataset.num_users, dataset.num_items
        self.adjacency = normalised(adjacency(dataset))

    def encode(self) -> tuple[Tensor, Tensor]:
        every = [self.parameters["table"]]
        for _ in range(self.options.n_layers):
            every.append(self.adjacency @ every[-1])
        users, items = (sum(every) / len(every)).split([self.num_users, self.num_items])
        return users, items + self.parameters["table"][self.num_users :]

    def predict(self, h: Tensor) -> Tensor:
        return h @ self.parameters["predictor.weight"].T + self.parameters["predictor.bias"]

    def parts(self, batch) -> Tensor:
        share, seed = self.options.dropout, batch.bits[0]
        h_users, h_items = self.encode()

        def target(table, stream):
            return mask_reference(table.shape, seed, stream, share, None) * table.detach() / (1 - share)

        u, i = batch.users, batch.positives
        reconstruction = (
            2
            - _cosine(self.predict(h_users)[u], target(h_items, 1)[i]).mean()
            - _cosine(self.predict(h_items)[i], target(h_users, 0)[u]).mean()
        )
        alignment = masked = torch.zeros((), dtype=torch.float64)
        for number, features in enumerate(self.features):
            weight, bias = (self.parameters[f"towers.{number}.first.{name}"] for name in ("weight", "bias"))
            f = features @ weight.T + bias
            alignment = alignment + 1 - _cosine(self.predict(f)[i], target(h_items, 1)[i]).mean()
            masked = masked + 1 - _cosine(self.predict(f)[i], target(f, 2 + number)[i]).mean()
        if self.options.regulariser == "norms":
            regulariser = (h_users.square().sum().sqrt() + h_items.square().sum().sqrt()) / self.num_items
        else:
            regulariser = h_users[u].square().sum(1).mean() + h_items[i].square().sum(1).mean()
        weight = self.options.cl_weight
        return torch.stack([reconstruction, weight * alignment, weight * masked, self.options.reg_weight * regulariser])


@pytest.mark.parametrize("modalities", (("image",), ("image", "text"), ("image", "text", "audio")))
@pytest.mark.parametrize(
    "options",
    (
        {},
        {"n_layers": 0},
        {"n_layers": 3, "dropout": 0.3},
        {"dropout": 0.0, "cl_weight": 0.5},
        {"regulariser": "squares", "reg_weight": 0.7},
        {"train_features": False},
        {"embedding_size": 3, "cl_weight": 0.0, "reg_weight": 0.0},
    ),
    ids=str,
)
def test_losses_gradients_and_embeddings_follow_the_equations(options, modalities):
    dataset = tiny_dataset(modalities=modalities)
    model = _model(dataset, **{"dropout": 0.4, **options}).double()
    # A row that loses all its numbers has no direction: 1 - cosine is 1 by PyTorch's convention, 0 / 0 in the formulas.
    seed = next(seed for seed in range(1000) if _none_vanishes(model, seed))
    batch = random_batch(dataset, 11)
    batch.bits[0] = seed
    parts = model.loss_parts(batch)
    twin = Twin(model, dataset)
    expected = twin.parts(batch)
    torch.testing.assert_close(parts, expected, **EXACT)
    weights = torch.tensor([1.0, 0.7, 1.3, 0.9], dtype=torch.float64)
    gradients = torch.autograd.grad((parts * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(twin.parameters.values()), allow_unused=True)
    for (name, parameter), ours, one in zip(model.named_parameters(), gradients, theirs):
        torch.testing.assert_close(ours, torch.zeros_like(parameter) if one is None else one, **EXACT, msg=name)
    for ours, h in zip(model.embeddings(), twin.encode()):
        torch.testing.assert_close(ours, twin.predict(h).detach(), **EXACT)


def _none_vanishes(model, seed: int) -> bool:
    width, share = model.options.embedding_size, model.options.dropout
    rows = (model.num_users, *[model.num_items] * (1 + len(model.towers)))
    return all(
        mask_reference(torch.Size((count, width)), torch.tensor(seed), stream, share, None).any(1).all()
        for stream, count in enumerate(rows)
    )


def test_a_target_that_loses_everything_is_no_direction():
    dataset = tiny_dataset()
    model, batch = _model(dataset, dropout=0.999), random_batch(dataset, 6)
    parts = model.loss_parts(batch)
    torch.testing.assert_close(parts[:3].detach(), torch.tensor([2.0, 4.0, 4.0]))
    parts.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_every_step_has_masks_of_its_own():
    """Of users, items and each modality; the same in every row that is the same node's."""
    dataset = tiny_dataset()
    model, batch = _model(dataset), random_batch(dataset)
    first = model.loss_parts(batch)
    batch.bits[0] += 1
    second = model.loss_parts(batch)
    assert (first != second).tolist() == [True, True, True, False]


def test_negatives_are_not_looked_at():
    dataset = tiny_dataset()
    model, batch = _model(dataset), random_batch(dataset)
    first = model.loss_parts(batch)
    batch.negatives.fill_(0)
    assert torch.equal(first, model.loss_parts(batch))


def test_features_learn_or_stay():
    dataset = tiny_dataset()
    trained, frozen = (_model(dataset, train_features=value) for value in (True, False))
    assert sum(parameter.numel() for parameter in trained.parameters()) - sum(
        parameter.numel() for parameter in frozen.parameters()
    ) == sum(matrix.size for matrix in dataset.features.values())
    before = {name: matrix.copy() for name, matrix in dataset.features.items()}
    for tower in trained.towers:
        tower.features.data.zero_()
    assert all((dataset.features[name] == matrix).all() for name, matrix in before.items())


def test_bf16_products():
    dataset = tiny_dataset(num_users=30, num_items=20)
    batch = random_batch(dataset)
    for train_features in (True, False):
        exact, rounded = (
            _model(dataset, train_features=train_features, precision=precision) for precision in ("fp32", "bf16")
        )
        torch.testing.assert_close(rounded.loss_parts(batch), exact.loss_parts(batch), rtol=2e-2, atol=1e-2)
        rounded.loss_parts(batch).sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in rounded.parameters())


MMREC_YAML = """\
embedding_size: 64
feat_embed_dim: 64
n_layers: [1, 2]
dropout: [0.3, 0.5]
reg_weight: [0.1, 0.01]
cl_weight: 2.0
use_neg_sampling: False
hyper_parameters: ["n_layers", "reg_weight", "dropout"]
"""


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("bm3", MMREC_YAML)
    assert found.options == {"embedding_size": 64, "cl_weight": 2.0}
    assert found.grids == {"n_layers": (1, 2), "dropout": (0.3, 0.5), "reg_weight": (0.1, 0.01)}
    assert "feat_embed_dim" in found.notes[0] and "use_neg_sampling" in found.notes[0]
