"""DualGNN against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
from content_reference import check_twin, content, heard_users
from tiny import tiny_dataset
from torch import Tensor
from twins import small_model

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

_model = partial(small_model, "dualgnn", **SMALL)


def _twin(model, dataset, parameters: dict[str, Tensor], *, ranking: bool) -> tuple[Tensor, Tensor]:
    """(U, D) and (I, D), from the formulas."""
    options, train = model.options, dataset.train_matrix.toarray()
    every = content(parameters, dataset, options.n_layers)
    total = sum(every)
    mixed = [total, *every[1:]] if options.published_quirks else every
    weights = parameters["user_weights"]
    users = sum(weights[:, m, None] * e[: len(train)] for m, e in enumerate(mixed))
    return heard_users(model, train, users, ranking=ranking), total[len(train) :]


def _check(dataset, **options):
    check_twin(_model(dataset, **options).double(), dataset, _twin)


@pytest.mark.parametrize("options", ONE_AT_A_TIME, ids=str)
def test_losses_gradients_and_embeddings_follow_the_equations(options):
    _check(tiny_dataset(), **options)


@pytest.mark.parametrize("modalities", [("text",), ("text", "image"), ("audio", "image", "text")], ids=str)
@pytest.mark.parametrize("quirks", [True, False])
def test_with_other_modalities(modalities, quirks):
    _check(tiny_dataset(1, modalities=modalities), published_quirks=quirks, user_graph_filled=True)


def test_settings_of_mmrec(read_mmrec):
    """src/configs/model/DualGNN.yaml."""
    rates = "[0.1, 0.01, 0.001, 0.0001, 0.00001]"
    lines = ["embedding_size: 64", "n_layers: 2", "aggr_mode: ['add']", f"reg_weight: {rates}"]
    lines += [f"learning_rate: {rates}", 'hyper_parameters: ["aggr_mode", "learning_rate", "reg_weight"]']
    found = read_mmrec("dualgnn", "\n".join(lines))
    values = (0.1, 0.01, 0.001, 0.0001, 0.00001)
    assert found.options == {"embedding_size": 64, "n_layers": 2}
    assert found.grids == {"learning_rate": values, "reg_weight": values}
    assert found.notes[0].endswith("passed over: aggr_mode")
