"""What DRAGON and DualGNN begin with, written out with dense matrices in float64: the twins of both build on it."""

from __future__ import annotations

import numpy as np
import torch
from tiny import random_batch
from torch import Tensor
from twins import adjacency, assert_follows, copied_parameters, normalised


def content(parameters: dict[str, Tensor], dataset, layers: int) -> list[Tensor]:
    """For each modality the sum over layers 0..L of A-hat^l rownorm([P_m ; MLP_m(F_m)]), (N, D)."""
    a_hat = normalised(adjacency(dataset))
    every = []
    for m, matrix in enumerate(features_of(dataset)):
        tower = {name: parameters[f"content.towers.{m}.{name}"] for name in _NAMES}
        hidden = matrix @ tower["first.weight"].T + tower["first.bias"]
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        items = hidden @ tower["second.weight"].T + tower["second.bias"]
        x = torch.cat([parameters["content.preferences"][:, m], items])
        x = x / x.square().sum(1, keepdim=True).sqrt()
        every.append(sum(torch.linalg.matrix_power(a_hat, layer) @ x for layer in range(layers + 1)))
    return every


_NAMES = ("first.weight", "first.bias", "second.weight", "second.bias")


def features_of(dataset) -> list[Tensor]:
    """(I, F_m) of each modality, in float64."""
    return [torch.from_numpy(matrix).double() for matrix in dataset.features.values()]


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


def move_parameters(model, seed: int = 5) -> None:
    """Away from where training starts, so that weights differ and biases count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def check_twin(model, dataset, twin) -> None:
    """A model in float64 against ``twin(model, dataset, parameters, ranking=...)``, users and items from formulas."""
    move_parameters(model)
    model.begin_epoch(torch.Generator().manual_seed(2))
    parameters, batch = copied_parameters(model), random_batch(dataset)
    users, items = twin(model, dataset, parameters, ranking=False)
    expected = parts(users, items, parameters, batch, model.options.reg_weight)
    assert_follows(model, batch, parameters, expected, twin(model, dataset, parameters, ranking=True))


def heard_users(model, train: np.ndarray, users: Tensor, *, ranking: bool) -> Tensor:
    """(U, E): users and those that they hear from, in an epoch or for ranking."""
    if model.options.user_graph_filled and not ranking:
        a_users = filled_user_graph(model.user_graph.epoch_neighbours, model.user_graph.epoch_weights)
    else:
        a_users = user_graph(train, model.options.user_k)
    return users + a_users @ users
