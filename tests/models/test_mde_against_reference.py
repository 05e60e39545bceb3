"""The fast model and its twin, which is written from the equations, agree in losses, gradients and embeddings.

The float64 runs settle the mathematics: nothing but the order of additions may differ. The float32 runs settle that the
fast model loses no more digits than float32 costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from mde_reference import reference_encode, reference_parts
from tiny import tiny_dataset
from torch import Tensor

from mde_fast.kernels import CSRGraph
from mde_fast.models import Batch
from mde_fast.models.mde import MDE, MDEOptions
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config

BASE = {
    "embedding_size": 6,
    "projection_hidden": 5,
    "knn_k": 3,
    "user_k": 4,
    "cache_dir": "none",
    # As large as the ranking losses, so that an error in one of these parts cannot hide behind them.
    "mda_weight": 0.7,
    "msa_weight": 0.5,
    "reg_weight": 0.3,
}

SMALLEST_SCALE = 0.01  # below it a number is judged as a part of this one: some gradients cancel to nothing

VALUES = {
    "projection": ("mlp", "linear"),
    "projection_hidden": (1, 5),
    "embedding_size": (2, 6),  # in one dimension unit rows cancel, and a zero row has no cosine
    "row_normalize": (True, False),
    "input_scale": (1.0, 0.25, 3.0),
    "n_layers": (0, 1, 2, 3),
    "layer_combine": ("mean", "sum"),
    "user_k": (1, 4, 100),
    "knn_k": (1, 3, 100),
    "item_graph": ("per_modality", "blend"),
    "fusion": ("concat", "sum"),
    "fusion_nodes": ("all", "users"),
    "preference_init": ("xavier", "zero"),
    "nlt": ("preference", "none", "fixed:0.3", "fixed:0", "fixed:1", "free"),
    "nlt_detach": (True, False),
    "mda": ("row_l2", "fro", "abs_cos"),
    "msa": ("cosine", "infonce"),
    "mda_weight": (0.7, 0.0),
    "msa_weight": (0.5, 0.0),
    "reg_weight": (0.3, 0.0),
    "temperature": (0.2, 1.5),
    "modality_losses": (True, False),
}

MODALITIES = {
    "image, text": ("image", "text"),
    "text first": ("text", "image"),
    "three": ("audio", "image", "text"),
    "three, text first": ("text", "audio", "image"),
    "no text": ("audio", "image"),
}

ONE_AT_A_TIME = [{name: value} for name, values in VALUES.items() for value in values]
FORMS = [
    {"mda": mda, "msa": msa, "nlt": nlt, "nlt_detach": detach}
    for mda, msa, nlt, detach in product(VALUES["mda"], VALUES["msa"], VALUES["nlt"][:3] + ("free",), (True, False))
]


def _random_case(seed: int, dtype: torch.dtype) -> Case:
    rng = np.random.default_rng(seed)
    options = {name: values[rng.integers(len(values))] for name, values in VALUES.items()}
    modalities = list(MODALITIES.values())[seed % len(MODALITIES)]
    return _case(options, modalities=modalities, dtype=dtype, seed=seed)


def _name(options: dict) -> str:
    return "-".join(f"{name}={value}" for name, value in options.items())


@dataclass
class Case:
    """A model, a batch, and what the twin needs to know of both."""

    options: MDEOptions
    model: MDE
    batch: Batch
    twin: dict

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The model's own numbers in float64, as leaves."""
        return {name: value.detach().double().requires_grad_() for name, value in self.model.named_parameters()}


def _case(
    options: dict, *, modalities: tuple[str, ...] = ("image", "text"), dtype=torch.float64, seed: int = 0
) -> Case:
    config = make_config(BASE | options)
    dataset = tiny_dataset(seed, modalities=modalities)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a constant made in float32 would stay so in a float64 model
    try:
        model = make_model(config, dataset, torch.device("cpu")).to(dtype)
    finally:
        torch.set_default_dtype(before)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "free" in name:  # begin at zero, where an error would not show
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    # More triples than users or items: all of them repeat. The isolated user and the never-trained item take part.
    users = torch.randint(dataset.num_users, (30,), generator=generator)
    positives = torch.randint(dataset.num_items, (30,), generator=generator)
    negatives = torch.randint(dataset.num_items, (30,), generator=generator)
    users[0], positives[1], negatives[2] = 0, dataset.num_items - 1, dataset.num_items - 1
    twin = {
        "features": {name: torch.from_numpy(matrix).double() for name, matrix in dataset.features.items()},
        "train": dataset.train_matrix.toarray(),
        "user_user": dense(model.graphs.user_user),
        "item_item": dense_per_modality(model.graphs.item_item, dataset.num_items, len(modalities)),
    }
    return Case(config.hyper, model, Batch(users, positives, negatives, torch.zeros_like(users)), twin)


def dense(graph: CSRGraph) -> Tensor:
    """The graph as a float64 matrix; an edge listed twice counts twice."""
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    return matrix.index_put_((graph.rows().long(), graph.columns.long()), graph.edge_values(torch.float64), True)


def dense_per_modality(graph: CSRGraph, num_items: int, num_modalities: int) -> list[Tensor]:
    """A_ii,m of each modality; a graph of one row per item serves them all."""
    matrix = dense(graph)
    if graph.shape[0] == num_items:
        return [matrix] * num_modalities
    blocks = matrix.reshape(num_items, num_modalities, num_items, num_modalities)
    for first, second in product(range(num_modalities), repeat=2):
        assert first == second or not blocks[:, first, :, second].any(), "an edge between two modalities"
    return [blocks[:, m, :, m] for m in range(num_modalities)]


def _close(actual: Tensor, expected: Tensor, name: str, tolerance: float) -> None:
    assert actual.shape == expected.shape, name
    error = float((actual.double() - expected).abs().max())
    scale = float(expected.abs().max())
    assert error <= tolerance * max(scale, SMALLEST_SCALE), f"{name}: off by {error:.3g}, truth up to {scale:.3g}"


def _check(case: Case, tolerance: float) -> None:
    parts = case.model.loss_parts(case.batch)
    parts.sum().backward()
    parameters = case.parameters
    batch = {name: getattr(case.batch, name) for name in ("users", "positives", "negatives")}
    expected = reference_parts(case.options, parameters, **case.twin, **batch)
    assert tuple(expected) == case.model.part_names
    for name, part in zip(case.model.part_names, parts.detach()):
        _close(part, expected[name].detach(), name, tolerance)
    sum(expected.values()).backward()
    for name, parameter in case.model.named_parameters():
        truth, own = parameters[name].grad, parameter.grad
        truth = torch.zeros_like(parameters[name]) if truth is None else truth
        own = torch.zeros_like(parameter) if own is None else own
        _close(own, truth, f"gradient of {name}", tolerance)


@pytest.mark.parametrize("options", ONE_AT_A_TIME, ids=_name)
@pytest.mark.parametrize("modalities", ("image, text", "three"))
def test_every_option_value(options, modalities):
    _check(_case(options, modalities=MODALITIES[modalities]), 1e-10)


@pytest.mark.parametrize("options", FORMS, ids=_name)
def test_every_pair_of_forms(options):
    _check(_case(options, seed=1), 1e-10)


@pytest.mark.parametrize("modalities", MODALITIES)
@pytest.mark.parametrize("nlt", ("fixed:0.3", "free", "preference"))
def test_every_order_of_modalities(nlt, modalities):
    _check(_case({"nlt": nlt}, modalities=MODALITIES[modalities], seed=2), 1e-10)


@pytest.mark.parametrize("seed", range(24))
def test_random_combinations(seed):
    _check(_random_case(seed, torch.float64), 1e-10)


@pytest.mark.parametrize("seed", range(24))
def test_random_combinations_in_float32(seed):
    """A chain of some hundred roundings of 6e-8 each: 1e-5 of the largest number, and any slip is far above."""
    _check(_random_case(seed, torch.float32), 1e-5)


@pytest.mark.parametrize("options", ONE_AT_A_TIME, ids=_name)
def test_every_option_value_in_float32(options):
    _check(_case(options, dtype=torch.float32), 1e-5)


@pytest.mark.parametrize("fusion_nodes", VALUES["fusion_nodes"])
@pytest.mark.parametrize("fusion", VALUES["fusion"])
@pytest.mark.parametrize("nlt", ("preference", "fixed:0.3", "free", "none"))
def test_embeddings_are_the_fused_rows(nlt, fusion, fusion_nodes):
    case = _case({"nlt": nlt, "fusion": fusion, "fusion_nodes": fusion_nodes}, seed=3)
    h_users, h_items = reference_encode(case.options, case.parameters, **case.twin)
    if nlt.startswith("fixed"):
        alpha_users = alpha_items = torch.tensor([[0.7, 0.3]], dtype=torch.float64)  # image, text
    else:
        alpha_users = torch.softmax(case.parameters["preferences.users"], dim=1)
        alpha_items = torch.softmax(case.parameters["preferences.items"], dim=1)
    if fusion_nodes == "users":
        alpha_items = torch.ones_like(alpha_items)
    join = sum if fusion == "sum" else lambda rows: torch.cat(rows, dim=1)
    for actual, h, alpha in zip(case.model.embeddings(), (h_users, h_items), (alpha_users, alpha_items)):
        assert not actual.requires_grad
        _close(actual, join([alpha[:, m, None] * h[m] for m in range(2)]).detach(), "embeddings", 1e-10)


def test_scores_of_the_embeddings_are_those_that_are_trained():
    """Eq. 9 again, from the vectors that ranking uses."""
    case = _case({}, seed=4)
    users, items = case.model.embeddings()
    u, i, j = case.batch.users, case.batch.positives, case.batch.negatives
    bpr = -torch.nn.functional.logsigmoid((users[u] * (items[i] - items[j])).sum(1)).mean()
    _close(case.model.loss_parts(case.batch)[0].detach(), bpr, "bpr", 1e-10)
