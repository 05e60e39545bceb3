"""What DRAGON and DualGNN begin with, written out with dense matrices in float64: the twins of both build on it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def content(parameters: dict[str, Tensor], features: list[Tensor], train: np.ndarray, layers: int) -> list[Tensor]:
    """For each modality the sum over layers 0..L of A-hat^l rownorm([P_m ; MLP_m(F_m)]), (N, D)."""
    num_users, num_items = train.shape
    adjacency = torch.zeros(num_users + num_items, num_users + num_items, dtype=torch.float64)
    adjacency[:num_users, num_users:] = torch.from_numpy(train).double()
    adjacency = adjacency + adjacency.T
    scale = adjacency.sum(1).clamp_min(1) ** -0.5
    adjacency = torch.diag(scale) @ adjacency @ torch.diag(scale)
    every = []
    for m, matrix in enumerate(features):
        tower = {name: parameters[f"content.towers.{m}.{name}"] for name in _NAMES}
        hidden = matrix @ tower["first.weight"].T + tower["first.bias"]
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        items = hidden @ tower["second.weight"].T + tower["second.bias"]
        x = torch.cat([parameters["content.preferences"][:, m], items])
        x = x / x.square().sum(1, keepdim=True).sqrt()
        every.append(sum(torch.linalg.matrix_power(adjacency, layer) @ x for layer in range(layers + 1)))
    return every


_NAMES = ("first.weight", "first.bias", "second.weight", "second.bias")


def user_graph(train: np.ndarray, k: int) -> Tensor:
    """(U, U): softmax over the k users with most items in common, equal numbers by ascending user."""
    common = train @ train.T
    np.fill_diagonal(common, 0)
    graph = torch.zeros(len(common), len(common), dtype=torch.float64)
    for user, counts in enumerate(common):
        nearest = [other for other in np.argsort(-counts, kind="stable")[:k] if counts[other] > 0]
        if nearest:
            graph[user, nearest] = torch.softmax(torch.from_numpy(counts[nearest]).double(), dim=0)
    return graph.float().double()  # as graphs are kept


def filled_user_graph(neighbours: Tensor, weights: Tensor) -> Tensor:
    """(U, U) of a table of places, (U, k)."""
    graph = torch.zeros(len(neighbours), len(neighbours), dtype=torch.float64)
    for user in range(len(neighbours)):
        for other, weight in zip(neighbours[user].tolist(), weights[user].tolist()):
            graph[user, other] += weight
    return graph


def item_graph(features: list[Tensor], k: int, weights: tuple[float, ...]) -> Tensor:
    """(I, I): each item's k items with the largest cosine in a modality, 1/k each, weighted sum over modalities."""
    total = np.zeros((len(features[0]), len(features[0])), dtype=np.float32)
    for matrix, weight in zip(features, weights):
        unit = matrix / matrix.norm(dim=1, keepdim=True)
        nearest = torch.topk(unit @ unit.T, min(k, len(unit)), dim=1).indices.numpy()
        one = np.zeros_like(total)
        np.put_along_axis(one, nearest, np.float32(weight / nearest.shape[1]), axis=1)
        total = total + one
    return torch.from_numpy(total).double()


def parts(users: Tensor, items: Tensor, parameters: dict[str, Tensor], batch, reg_weight: float) -> Tensor:
    """BPR with log2 and the regulariser."""
    u, i, j = batch.users, batch.positives, batch.negatives
    scores = (users[u] * items[i]).sum(1) - (users[u] * items[j]).sum(1)
    ranking = -torch.log2(torch.sigmoid(scores)).mean()
    rows = parameters["content.preferences"][u]
    squares = sum(rows[:, m].square().mean() for m in range(rows.shape[1]))
    return torch.stack([ranking, reg_weight * (squares + parameters["user_weights"].square().mean())])


def copied_parameters(model) -> dict[str, Tensor]:
    """Leaves of their own, with the model's numbers."""
    return {
        name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in model.named_parameters()
    }


def move_parameters(model, seed: int = 5) -> None:
    """Away from where training starts, so that weights differ and biases count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def assert_same_steps(model, batch, expected: Tensor, parameters: dict[str, Tensor]) -> None:
    """Loss parts and every gradient."""
    actual = model.loss_parts(batch)
    torch.testing.assert_close(actual, expected, **EXACT)
    actual.sum().backward()
    expected.sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, parameters[name].grad, **EXACT, msg=lambda m: f"{name}: {m}")
