"""MMGCN against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch.nn import functional as F
from twins import adjacency, assert_follows, copied_parameters, ranking_and_id_squares, small_model

MODALITIES = (("image", "text"), ("audio", "image", "text"), ("text",))

_model = partial(small_model, "mmgcn", embedding_size=6, reduced_size=5, reg_weight=0.5)


def _dense(model, tensors, dataset):
    """(N, D) representations of all nodes from the equations."""
    edges = adjacency(dataset)
    mean = edges / edges.sum(1, keepdim=True).clamp_min(1)
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
    leaves = copied_parameters(model)
    tensors = {**model.state_dict(), **leaves}
    rows = _dense(model, tensors, dataset)
    ranking, regulariser = ranking_and_id_squares(rows, tensors["ids"], batch, dataset.num_users)
    if "image" in modalities:
        regulariser = regulariser + (tensors[f"networks.{modalities.index('image')}.preference"] ** 2).mean()
    expected = torch.stack([ranking, model.options.reg_weight * regulariser])
    assert_follows(model, batch, leaves, expected, rows.split([dataset.num_users, dataset.num_items]))


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


def test_mmrecs_file_is_understood(read_mmrec):
    found = read_mmrec(
        "mmgcn",
        "embedding_size: 64\nn_layers: 2\nreg_weight: [0, 0.1]\nlearning_rate: [0.0001, 0.01]\n"
        'hyper_parameters: ["reg_weight", "learning_rate"]\n',
    )
    assert found.options == {"embedding_size": 64} and found.grids["reg_weight"] == (0.0, 0.1)
