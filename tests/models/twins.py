"""What the dense twins of models share: the model under test, R as one matrix, and comparing to the last digits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mde_fast.data.dataset import InteractionDataset
from mde_fast.models import Model
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64 on both sides


def small_model(name: str, dataset: InteractionDataset, **options) -> Model:
    """A model on the CPU, as a run without a cache makes it."""
    return make_model(make_config({"model": name, "cache_dir": "none", **options}), dataset, torch.device("cpu"))


def adjacency(dataset: InteractionDataset) -> Tensor:
    """[[0, R], [R^T, 0]], (U + I, U + I) float64."""
    train = torch.from_numpy(dataset.train_matrix.toarray().astype(np.float64))
    num_users, num_nodes = dataset.num_users, sum(train.shape)
    matrix = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    matrix[:num_users, num_users:], matrix[num_users:, :num_users] = train, train.T
    return matrix


def normalised(matrix: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2."""
    scale = matrix.sum(1).clamp_min(1).rsqrt()
    return scale[:, None] * matrix * scale


def copied_parameters(model: Model) -> dict[str, Tensor]:
    """Leaves of their own, with the model's numbers."""
    return {
        name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in model.named_parameters()
    }


def ranking_and_id_squares(rows: Tensor, ids: Tensor, batch, num_users: int) -> tuple[Tensor, Tensor]:
    """BPR of nodes' representations (N, E), and GRCN's and MMGCN's mean square of ids (N, D), a user with each item."""
    u, i, j = batch.users, batch.positives + num_users, batch.negatives + num_users
    ranking = -torch.sigmoid((rows[u] * rows[i]).sum(1) - (rows[u] * rows[j]).sum(1)).log().mean()
    return ranking, torch.cat([ids[u] ** 2 + ids[i] ** 2, ids[u] ** 2 + ids[j] ** 2]).mean()


def assert_follows(model: Model, batch, leaves: dict[str, Tensor], parts: Tensor, embeddings) -> None:
    """A model against formulas: loss parts and, as ``parts`` are made of ``leaves``, gradients; then embeddings."""
    actual = model.loss_parts(batch)
    torch.testing.assert_close(actual, parts, **EXACT)
    actual.sum().backward()
    parts.sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, leaves[name].grad, **EXACT, msg=lambda m: f"{name}: {m}")
    for ours, theirs in zip(model.embeddings(), embeddings):
        torch.testing.assert_close(ours, theirs.detach(), **EXACT)
