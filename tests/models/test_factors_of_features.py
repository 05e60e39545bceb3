"""Models over factors of the features: the same losses, gradients and embeddings, and every promise kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contract import LearnerContract
from test_contract import SMALL
from tiny import random_batch

from mde_fast.data.dataset import InteractionDataset
from mde_fast.models import find_model, model_names
from mde_fast.nn.feature_rank import FeatureRank
from mde_fast.nn.towers import FeatureTower

MODALITIES = ("image", "text", "audio")


class WithFactors(LearnerContract):
    """Two columns of the image are independent, all of the text, and one of the audio, which some items lack."""

    rank = FeatureRank("exact")

    def dataset(self, num_users: int = 60, num_items: int = 40) -> InteractionDataset:
        dataset, rng = super().dataset(num_users, num_items), np.random.default_rng(3)
        for name, rank in (("image", 2), ("audio", 1)):
            if name in dataset.features:
                items, columns = dataset.features[name].shape
                product = rng.standard_normal((items, rank)) @ rng.standard_normal((rank, columns))
                dataset.features[name] = product.astype(np.float32)
        if "audio" in dataset.features:
            dataset.features["audio"][5:9] = 0
        return dataset


def _contract(name: str, modalities: tuple[str, ...] = MODALITIES[:2], **options) -> type[WithFactors]:
    model = find_model(name)
    small = {option: value for option, value in SMALL.items() if option in model.Options.schema()}
    own = {"model": model, "small": {**small, **options}, "modalities": modalities}
    return type(f"Test_{name}_with_factors", (WithFactors,), own)


# Towers of two layers over all items, of one over them, over a batch with modalities side by side, over all nodes.
globals().update({f"Test_{name}": _contract(name) for name in ("mde", "grcn", "vbpr", "slmrec")})

MODELS = [name for name in model_names() if find_model(name).min_modalities and find_model(name).learns]


@pytest.mark.parametrize("modalities", (MODALITIES[:2], MODALITIES))
@pytest.mark.parametrize("name", MODELS)
def test_numbers_are_those_without_factors(name, modalities):
    frozen = {"train_features": False} if "train_features" in find_model(name).Options.schema() else {}
    contract = _contract(name, modalities, **frozen)()
    dataset = contract.dataset()
    ours = contract.build(dataset).double()
    contract.rank = FeatureRank("full")
    plain = contract.build(dataset).double()
    towers = [part for part in ours.modules() if isinstance(part, FeatureTower)]
    assert any(tower.features.shape[1] < tower.first.weight.shape[1] for tower in towers), "there are factors"
    batch = random_batch(dataset)
    for (which, one), other in zip(ours.named_parameters(), plain.parameters()):
        assert torch.equal(one, other), which
    parts = [model.loss_parts(batch) for model in (ours, plain)]
    torch.testing.assert_close(*parts, rtol=1e-5, atol=1e-7)
    for part in parts:
        part.sum().backward()
    for (which, one), other in zip(ours.named_parameters(), plain.parameters()):
        if one.requires_grad:
            tolerance = 1e-5 * float(other.grad.abs().max()) + 1e-12  # a bias may have no effect on differences
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=tolerance, msg=which)
    for one, other in zip(ours.embeddings(), plain.embeddings()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("name", [name for name in MODELS if "train_features" in find_model(name).Options.schema()])
def test_features_that_are_trained_are_all_there(name):
    contract = _contract(name)()
    assert [tuple(tower.features.shape) for tower in contract.build(contract.dataset()).towers] == [(40, 7), (40, 4)]
