"""Every model of the listing, and a toy that uses all of it, keeps every promise."""

from __future__ import annotations

from contract import ModelContract
from toy import Toy

from mde_fast.models import find_model, model_names

# What makes a model small, where its defaults are not; a model that is not named here has its defaults.
SMALL = {
    "mde": {"embedding_size": 8, "projection_hidden": 16, "user_k": 4, "knn_k": 3},
    "lightgcn": {"embedding_size": 8},
    "dragon": {"embedding_size": 8, "projection_hidden": 16, "user_k": 4, "knn_k": 3, "user_graph_filled": True},
    "dualgnn": {"embedding_size": 8, "projection_hidden": 16, "user_k": 4, "user_graph_filled": True},
}


def _contract(name: str) -> type[ModelContract]:
    return type(f"Test_{name}", (ModelContract,), {"model": find_model(name), "small": SMALL.get(name, {})})


globals().update({f"Test_{name}": _contract(name) for name in model_names()})


class TestToy(ModelContract):
    model = Toy

    def test_an_epoch_has_its_own_graph_and_a_step_its_own_chance(self):
        """Else the promises above would be kept by a model that has neither."""
        import torch
        from tiny import random_batch

        dataset = self.dataset()
        model, batch = self.build(dataset), random_batch(dataset)
        generator = torch.Generator().manual_seed(0)
        losses = set()
        for _ in range(3):
            assert model.begin_epoch(generator)
            losses.add(float(model.loss_parts(batch)))
        batch.bits[0] += 1
        assert len(losses | {float(model.loss_parts(batch))}) == 4


def test_the_listing_is_the_registry():
    assert model_names()[0] == "mde" and len(set(model_names())) == len(model_names())
    for name in model_names():
        assert issubclass(find_model(name).Options, object) and find_model(name).Options.owner == name
