"""MMGCN against its equations, written out with dense matrices, and against numbers of the published code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch.nn import functional as F

from mde_fast.models.mmgcn import MMGCN
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config, read_options

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from make_mmgcn import COMPARISON  # noqa: E402

CPU = torch.device("cpu")
MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))


def _model(dataset, **options) -> MMGCN:
    options = {"embedding_size": 6, "reduced_size": 5, "cache_dir": "none", "reg_weight": 0.5, **options}
    return make_model(make_config({"model": "mmgcn", **options}), dataset, CPU)


def _dense(model, tensors, dataset):
    """(N, D) representations of all nodes from the equations."""
    train = torch.from_numpy(dataset.train_matrix.toarray().astype(np.float64))
    num_users, num_items = train.shape
    adjacency = torch.zeros(num_users + num_items, num_users + num_items, dtype=torch.float64)
    adjacency[:num_users, num_users:] = train
    adjacency[num_users:, :num_users] = train.T
    mean = adjacency / adjacency.sum(1, keepdim=True).clamp_min(1)
    total = 0
    for number, (name, features) in enumerate(dataset.features.items()):
        own = {key.split(f"networks.{number}")[1]: t for key, t in tensors.items() if f"networks.{number}" in key}
        features = torch.from_numpy(features).double()
        if name in model.options.reduced:
            features = features @ own[".tower.first.weight"].T + own[".tower.first.bias"]
        x = torch.cat([own[".preference"], features])
        x = x / x.norm(dim=1, keepdim=True)
        for place in ("first", "second", "third"):
            layer = {key.split(f".{place}.")[1]: t for key, t in own.items() if key.startswith(f".{place}.")}
            h = F.leaky_relu(mean @ x @ layer["weight"])
            x_hat = F.leaky_relu(x @ layer["own.weight"].T + layer["own.bias"]) + tensors["ids"]
            x = F.leaky_relu(torch.cat([h, x_hat], 1) @ layer["join.weight"].T + layer["join.bias"])
        total = total + x
    return total / len(dataset.features)


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("learned", (False, True))
@pytest.mark.parametrize("options", ({}, {"reduced": ()}, {"reduced": ("text", "audio")}, {"reg_weight": 0.0}), ids=str)
@pytest.mark.parametrize("sizes", ((12, 9), (8, 14)), ids=("more users", "more items"))
def test_losses_gradients_and_embeddings_follow_the_equations(modalities, learned, options, sizes):
    dataset = tiny_dataset(modalities=modalities, num_users=sizes[0], num_items=sizes[1])
    model = _model(dataset, learned_ids=learned, **options).double()
    batch = random_batch(dataset, 30)
    parts = model.loss_parts(batch)
    parts.sum().backward()

    leaves = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    tensors = {**model.state_dict(), **leaves}
    rows = _dense(model, tensors, dataset)
    u, i, j = batch.users, batch.positives + dataset.num_users, batch.negatives + dataset.num_users
    ranking = -torch.sigmoid((rows[u] * rows[i]).sum(1) - (rows[u] * rows[j]).sum(1)).log().mean()
    ids = tensors["ids"]
    regulariser = torch.cat([ids[u] ** 2 + ids[i] ** 2, ids[u] ** 2 + ids[j] ** 2]).mean()
    if "image" in modalities:
        regulariser = regulariser + (tensors[f"networks.{modalities.index('image')}.preference"] ** 2).mean()
    expected = torch.stack([ranking, model.options.reg_weight * regulariser])
    torch.testing.assert_close(parts, expected, rtol=1e-10, atol=1e-12)
    expected.sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, rtol=1e-9, atol=1e-12, msg=name)
    for ours, theirs in zip(model.embeddings(), rows.split([dataset.num_users, dataset.num_items])):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_what_is_kept_follows_the_numbers_it_was_made_from():
    """Loading a checkpoint, or another type, must not leave means of the old preferences behind."""
    dataset = tiny_dataset()
    one, other = _model(dataset, seed=1), _model(dataset, seed=2)
    first = one.embeddings()
    other.embeddings()
    other.load_state_dict(one.state_dict())
    assert all(torch.equal(*pair) for pair in zip(first, other.embeddings()))
    assert other.double().embeddings()[0].dtype == torch.float64


def test_ids_and_preferences_are_kept_in_checkpoints_but_learned_only_when_asked():
    names = {"ids", "networks.0.preference", "networks.1.preference"}
    for learned in (False, True):
        model = _model(tiny_dataset(), learned_ids=learned)
        assert names <= model.state_dict().keys()
        assert (names & dict(model.named_parameters()).keys() == names) == learned


@pytest.mark.parametrize("number", range(len(COMPARISON.cases)))
def test_loss_gradients_and_scores_are_the_published_codes(number):
    COMPARISON.check(number)


def test_mmrecs_file_is_understood(tmp_path):
    path = tmp_path / "MMGCN.yaml"
    path.write_text(
        "embedding_size: 64\nn_layers: 2\nreg_weight: [0, 0.1]\nlearning_rate: [0.0001, 0.01]\n"
        'hyper_parameters: ["reg_weight", "learning_rate"]\n'
    )
    found = read_options(path, ("mmgcn",))
    assert found.options == {"embedding_size": 64} and found.grids["reg_weight"] == (0.0, 0.1)
