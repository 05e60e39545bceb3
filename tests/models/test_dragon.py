"""DRAGON against its equations, written out with dense matrices."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from content_reference import check_twin, content, features_of, heard_users, item_graph
from refused import assert_refused
from tiny import tiny_dataset
from torch import Tensor
from twins import small_model

from mde_fast.graphs.blend import blend_weights
from mde_fast.runs.config import make_config
from mde_fast.runs.presets import find_preset

SMALL = {"embedding_size": 6, "projection_hidden": 5, "knn_k": 3, "user_k": 4, "reg_weight": 0.3}
VALUES = {
    "embedding_size": (1, 6),
    "projection_hidden": (1, 5),
    "n_layers": (0, 1, 3),
    "n_mm_layers": (1, 2, 3),
    "knn_k": (1, 4, 100),
    "blend_weights": ((), (0.7, 0.3)),
    "user_k": (1, 4, 100),
    "user_graph_filled": (True, False),
    "reg_weight": (0.0, 0.3),
}
ONE_AT_A_TIME = [{name: value} for name, values in VALUES.items() for value in values]

_model = partial(small_model, "dragon", **SMALL)


def _twin(model, dataset, parameters: dict[str, Tensor], *, ranking: bool) -> tuple[Tensor, Tensor]:
    """(U, M D) and (I, M D), from the formulas."""
    options, train = model.options, dataset.train_matrix.toarray()
    every, weights = content(parameters, dataset, options.n_layers), parameters["user_weights"]
    users = torch.cat([weights[:, m, None] * e[: len(train)] for m, e in enumerate(every)], dim=1)
    items = torch.cat([e[len(train) :] for e in every], dim=1)
    shares = blend_weights(options.blend_weights, tuple(dataset.features))
    a_items = item_graph(features_of(dataset), options.knn_k, shares)
    items = items + torch.linalg.matrix_power(a_items, options.n_mm_layers) @ items
    return heard_users(model, train, users, ranking=ranking), items


def _check(dataset, **options):
    check_twin(_model(dataset, **options).double(), dataset, _twin)


@pytest.mark.parametrize("options", ONE_AT_A_TIME, ids=str)
def test_losses_gradients_and_embeddings_follow_the_equations(options):
    _check(tiny_dataset(), **options)


@pytest.mark.parametrize("modalities", [("text",), ("text", "image"), ("audio", "image", "text")], ids=str)
@pytest.mark.parametrize("filled", [True, False])
def test_with_other_modalities(modalities, filled):
    _check(tiny_dataset(1, modalities=modalities), user_graph_filled=filled, n_mm_layers=2)


def test_weights_of_modalities_begin_as_shares():
    for modalities in (("text",), ("image", "text"), ("audio", "image", "text")):
        model = _model(tiny_dataset(modalities=modalities))
        torch.testing.assert_close(model.user_weights.sum(1), torch.ones(12))
        assert model.user_weights.requires_grad == (len(modalities) > 1)


# ---------------------------------------------------------------------------------------------------------------------
# Options


def test_the_weight_of_images_is_that_of_images_in_any_order():
    assert blend_weights((), ("image", "text")) == (0.1, 0.9)
    assert blend_weights((), ("text", "image")) == (0.9, 0.1)
    assert blend_weights((), ("audio", "image", "text")) == (1 / 3,) * 3
    assert blend_weights((0.5, 0.2), ("a", "b")) == (0.5, 0.2)
    said = "blend_weights: 2 weights for 3 modalities (audio, image, text)"
    assert_refused(lambda: _model(tiny_dataset(modalities=("audio", "image", "text")), blend_weights=(0.1, 0.9)), said)


@pytest.mark.parametrize("own", [False, True])
def test_settings_of_mmrec_and_of_the_authors(read_mmrec, own):
    """src/configs/model/DRAGON.yaml of MMRec, and configs/model/DRAGON.yaml of the authors' own repository."""
    rates = "[0.1, 0.01, 0.001, 0.0001, 0.00001]"
    lines = ["embedding_size: 64", "feat_embed_dim: 64", "n_layers: 2", "aggr_mode: ['add']"]
    lines += [f"learning_rate: {rates}", f"reg_weight: {rates}"]
    if own:
        lines += ["mm_image_weight: [0.1, 0.2, 0.9]", "knn_k: [5, 10, 20]", "k: [30, 40, 50]", "n_mm_layers: [1, 2]"]
        lines += ["u_layers: [1, 2]", "hyper_parameters: [mm_image_weight, k, u_layers, n_mm_layers, knn_k, aggr_mode,"]
    else:
        lines += ["mm_image_weight: 0.1", "knn_k: 10", "n_mm_layers: 1", "hyper_parameters: [aggr_mode,"]
    lines[-1] += " reg_weight, learning_rate]"
    found = read_mmrec("dragon", "\n".join(lines))
    values = (0.1, 0.01, 0.001, 0.0001, 0.00001)
    grids = {"learning_rate": values, "reg_weight": values}
    options = {"embedding_size": 64, "n_layers": 2}
    if own:
        grids |= {"blend_weights": ((0.1, 0.9), (0.2, 0.8), (0.9, 1 - 0.9)), "knn_k": (5, 10, 20)}
        grids |= {"user_k": (30, 40, 50), "n_mm_layers": (1, 2)}
    else:
        options |= {"blend_weights": (0.1, 0.9), "knn_k": 10, "n_mm_layers": 1}
    assert found.options == options and found.grids == grids


def test_presets_are_those_of_the_authors():
    for dataset, weight in (("baby", 0.001), ("sports", 0.001), ("clothing", 0.1)):
        preset = find_preset(dataset, model="dragon")
        config = make_config({**preset.options, "model": "dragon"})
        assert (config.training.learning_rate, config.hyper.reg_weight) == (0.0001, weight)
