"""Every model of the listing, and a toy that uses all of it, keeps every promise."""

from __future__ import annotations

import torch
from contract import LearnerContract, ModelContract, ReadyContract
from tiny import random_batch
from toy import Toy

from mde_fast.models import find_model, model_names

# Of the options that a model has: what makes it small, and what lets an epoch have a graph of its own.
SMALL = {
    **{"embedding_size": 8, "content_size": 8, "reduced_size": 5, "projection_hidden": 16, "user_k": 4, "knn_k": 3},
    "user_graph_filled": True,
}
# What a step's forward and backward pass call, the budget of a model: more is a decision, not an accident.
MOST_CALLS = {
    **{"mde": 80, "bm3": 58, "dragon": 72, "dualgnn": 78, "freedom": 59, "grcn": 170, "lightgcn": 26, "mmgcn": 241},
    **{"slmrec": 319, "vbpr": 42, "lattice": 113, "lgmrec": 179, "mgcn": 168, "smore": 245},
}


def _contract(name: str) -> type[ModelContract]:
    model = find_model(name)
    small = {option: value for option, value in SMALL.items() if option in model.Options.schema()}
    kept = {"model": model, "small": small}
    if not model.learns:
        return type(f"Test_{name}", (ReadyContract,), kept)
    return type(f"Test_{name}", (LearnerContract,), kept | {"most_calls": MOST_CALLS.get(name, float("inf"))})


globals().update({f"Test_{name}": _contract(name) for name in model_names()})


class TestToy(LearnerContract):
    model = Toy
    most_calls = 30

    def test_an_epoch_has_its_own_graph_and_a_step_its_own_chance(self):
        """Else the promises above would be kept by a model that has neither."""
        dataset = self.dataset()
        model, batch = self.build(dataset), random_batch(dataset)
        generator = torch.Generator().manual_seed(0)
        losses = set()
        for _ in range(3):
            assert model.begin_epoch(generator)
            losses.add(float(model.loss_parts(batch).detach()))
        batch.bits[0] += 1
        assert len(losses | {float(model.loss_parts(batch).detach())}) == 4


def test_the_listing_is_the_registry():
    assert model_names()[0] == "mde" and len(set(model_names())) == len(model_names())
    for name in model_names():
        assert find_model(name).Options.owner == name
