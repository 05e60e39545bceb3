"""DualGNN against its equations, written out with dense matrices, and against MMRec's code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from content_reference import (
    EXACT,
    assert_same_steps,
    content,
    copied_parameters,
    filled_user_graph,
    move_parameters,
    parts,
    user_graph,
)
from tiny import random_batch, tiny_dataset
from torch import Tensor

from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config, read_options

sys.path.insert(0, str(Path(__file__).parent / "golden"))
from make_dualgnn import COMPARISON  # noqa: E402

SMALL = {"embedding_size": 6, "projection_hidden": 5, "user_k": 4, "reg_weight": 0.3}
VALUES = {
    "embedding_size": (1, 6),
    "projection_hidden": (1, 5),
    "n_layers": (0, 1, 3),
    "user_k": (1, 4, 100),
    "user_graph_filled": (True, False),
    "published_quirks": (True, False),
    "reg_weight": (0.0, 0.3),
}
ONE_AT_A_TIME = [{name: value} for name, values in VALUES.items() for value in values]


def _model(dataset, **options):
    config = make_config({"model": "dualgnn", "cache_dir": "none", **SMALL, **options})
    return make_model(config, dataset, torch.device("cpu"))


def _twin(model, dataset, parameters: dict[str, Tensor], *, ranking: bool = False) -> tuple[Tensor, Tensor]:
    """(U, D) and (I, D), from the formulas."""
    options, train = model.options, dataset.train_matrix.toarray()
    features = [torch.from_numpy(matrix).double() for matrix in dataset.features.values()]
    every = content(parameters, features, train, options.n_layers)
    total = sum(every)
    mixed = [total, *every[1:]] if options.published_quirks else every
    weights = parameters["user_weights"]
    users = sum(weights[:, m, None] * e[: len(train)] for m, e in enumerate(mixed))
    if options.user_graph_filled and not ranking:
        a_users = filled_user_graph(model.user_graph.epoch_neighbours, model.user_graph.epoch_weights)
    else:
        a_users = user_graph(train, options.user_k)
    return users + a_users @ users, total[len(train) :]


def _check(dataset, **options):
    model = _model(dataset, **options).double()
    move_parameters(model)
    model.begin_epoch(torch.Generator().manual_seed(2))
    parameters, batch = copied_parameters(model), random_batch(dataset)
    users, items = _twin(model, dataset, parameters)
    expected = parts(users, items, parameters, batch, model.options.reg_weight)
    assert_same_steps(model, batch, expected, parameters)
    for ours, theirs in zip(model.embeddings(), _twin(model, dataset, parameters, ranking=True)):
        torch.testing.assert_close(ours, theirs.detach(), **EXACT)


@pytest.mark.parametrize("options", ONE_AT_A_TIME, ids=str)
def test_losses_gradients_and_embeddings_follow_the_equations(options):
    _check(tiny_dataset(), **options)


@pytest.mark.parametrize("modalities", [("text",), ("text", "image"), ("audio", "image", "text")], ids=str)
@pytest.mark.parametrize("quirks", [True, False])
def test_with_other_modalities(modalities, quirks):
    _check(tiny_dataset(1, modalities=modalities), published_quirks=quirks, user_graph_filled=True)


@pytest.mark.parametrize("number", range(len(COMPARISON.cases)))
def test_loss_and_gradients_are_those_of_mmrec(number):
    COMPARISON.check(number)


def test_settings_of_mmrec(tmp_path):
    """src/configs/model/DualGNN.yaml."""
    rates = "[0.1, 0.01, 0.001, 0.0001, 0.00001]"
    lines = ["embedding_size: 64", "n_layers: 2", "aggr_mode: ['add']", f"reg_weight: {rates}"]
    lines += [f"learning_rate: {rates}", 'hyper_parameters: ["aggr_mode", "learning_rate", "reg_weight"]']
    path = tmp_path / "DualGNN.yaml"
    path.write_text("\n".join(lines))
    found = read_options(path, ("dualgnn",))
    values = (0.1, 0.01, 0.001, 0.0001, 0.00001)
    assert found.options == {"embedding_size": 64, "n_layers": 2}
    assert found.grids == {"learning_rate": values, "reg_weight": values}
    assert found.notes[0].endswith("passed over: aggr_mode")
