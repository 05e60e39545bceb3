"""VBPR against its equations, written out for all items."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch import Tensor
from twins import EXACT, copied_parameters, small_model

_model = partial(small_model, "vbpr", embedding_size=8)


class Twin:
    """The formulas, with a copy of a model's parameters."""

    def __init__(self, model, dataset):
        self.options = model.options
        self.parameters = copied_parameters(model)
        self.content = torch.cat([torch.from_numpy(matrix).double() for matrix in dataset.features.values()], dim=1)

    def factors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """gamma_u, theta_u, gamma_i, E f_i and the bias of an item."""
        d = self.options.embedding_size
        gamma_u, theta_u = self.parameters["user_table"].split(d, dim=1)
        projected = self.content @ self.parameters["content.first.weight"].T + self.parameters["content.first.bias"]
        bias = torch.zeros(len(projected), dtype=torch.float64)
        if self.options.biases:
            bias = self.parameters["item_bias"][:, 0] + projected[:, d]
        return gamma_u, theta_u, self.parameters["item_table"], projected[:, :d], bias

    def scores(self) -> Tensor:
        gamma_u, theta_u, gamma_i, content, bias = self.factors()
        return bias + gamma_u @ gamma_i.T + theta_u @ content.T

    def parts(self, batch) -> Tensor:
        u, i, j = batch.users, batch.positives, batch.negatives
        scores = self.scores()
        ranking = -torch.log(torch.sigmoid(scores[u, i] - scores[u, j])).mean()
        gamma_u, theta_u, gamma_i, content, _ = self.factors()
        if self.options.regulariser == "norms":
            sides = (gamma_u[u], theta_u[u]), (gamma_i[i], content[i]), (gamma_i[j], content[j])
            norms = [sum(rows.square().sum() for rows in side).sqrt() for side in sides]
            regulariser = sum(norms) / len(u)
        else:
            learned = gamma_u[u], theta_u[u], gamma_i[i], gamma_i[j]
            regulariser = sum(rows.square().sum(1) for rows in learned).mean() / 2
        return torch.stack([ranking, self.options.reg_weight * regulariser])


@pytest.mark.parametrize("modalities", (("image",), ("image", "text"), ("image", "text", "audio")))
@pytest.mark.parametrize("regulariser", ("norms", "squares"))
@pytest.mark.parametrize("biases", (False, True))
@pytest.mark.parametrize("size", (1, 11, 300))
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, regulariser, biases, size):
    """Batches smaller and larger than the number of items."""
    dataset = tiny_dataset(modalities=modalities)
    model = _model(dataset, regulariser=regulariser, biases=biases, reg_weight=0.3).double()
    if biases:
        torch.nn.init.normal_(model.item_bias, generator=torch.Generator().manual_seed(3))
    batch, twin = random_batch(dataset, size), Twin(model, dataset)
    parts, expected = model.loss_parts(batch), twin.parts(batch)
    torch.testing.assert_close(parts, expected, **EXACT)
    weights = torch.tensor([1.0, 0.7], dtype=torch.float64)
    gradients = torch.autograd.grad((parts * weights).sum(), list(model.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), list(twin.parameters.values()))
    for (name, _), ours, one in zip(model.named_parameters(), gradients, theirs):
        torch.testing.assert_close(ours, one, **EXACT, msg=name)
    users, items = model.embeddings()
    torch.testing.assert_close(users @ items.T, twin.scores().detach(), **EXACT)


def test_initial_parameters_are_mmrecs():
    """Uniform tables, a normal projection of both modalities as one, no bias."""
    dataset = tiny_dataset(num_users=300, num_items=200)
    model = _model(dataset, embedding_size=64)
    for table in (model.user_table, model.item_table):
        bound = (6 / sum(table.shape)) ** 0.5
        assert bound * 0.99 < table.abs().max() <= bound
    weight = model.content.first.weight
    assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.1)
    assert not model.content.first.bias.any()


def test_bf16_products():
    dataset = tiny_dataset(num_users=30, num_items=20)
    batch = random_batch(dataset)
    exact, rounded = (_model(dataset, precision=precision) for precision in ("fp32", "bf16"))
    torch.testing.assert_close(rounded.loss_parts(batch), exact.loss_parts(batch), rtol=2e-2, atol=1e-2)
    rounded.loss_parts(batch).sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in rounded.parameters())


MMREC_YAML = """\
embedding_size: 64
reg_weight: [2.0, 1.0, 1e-01, 1e-02, 1e-03, 1e-04, 1e-05]
hyper_parameters: ["reg_weight"]
"""


def test_mmrecs_file_loads(read_mmrec):
    found = read_mmrec("vbpr", MMREC_YAML)
    assert found.options == {"embedding_size": 64}
    assert found.grids == {"reg_weight": (2.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)}
