"""What the model promises besides its equations: names of parameters, precision, repeatability, special cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import random_batch, tiny_dataset
from torch.utils._python_dispatch import TorchDispatchMode

from mde_fast.errors import InputError
from mde_fast.models import Batch
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config

SMALL = {"embedding_size": 8, "projection_hidden": 16, "knn_k": 3, "user_k": 4, "cache_dir": "none"}
CPU = torch.device("cpu")


def _model(dataset=None, **options):
    return make_model(make_config(SMALL | options), tiny_dataset() if dataset is None else dataset, CPU)


TOWERS = {
    "mlp": ["first.weight", "first.bias", "second.weight", "second.bias"],
    "linear": ["first.weight", "first.bias"],
}
PREFERENCES = {
    "preference": ["users", "items"],
    "none": ["users", "items"],
    "fixed:0.3": [],
    "free": ["users", "items", "free_users", "free_items"],
}


@pytest.mark.parametrize("projection", TOWERS)
@pytest.mark.parametrize("nlt", PREFERENCES)
@pytest.mark.parametrize("modalities", (("image", "text"), ("image", "text", "audio")))
def test_a_state_holds_what_is_learned_and_nothing_else(modalities, nlt, projection):
    model = _model(tiny_dataset(modalities=modalities), nlt=nlt, projection=projection)
    expected = {"user_table"}
    expected |= {f"towers.{m}.{name}" for m in range(len(modalities)) for name in TOWERS[projection]}
    expected |= {f"preferences.{name}" for name in PREFERENCES[nlt]}
    assert set(model.state_dict()) == expected == {name for name, _ in model.named_parameters()}


def test_shapes():
    model = _model(tiny_dataset(modalities=("image", "text", "audio")))
    users, items = model.encode()
    assert users.shape == (12, 3, 8) and items.shape == (9, 3, 8)
    assert [rows.shape for rows in model.embeddings()] == [(12, 24), (9, 24)]
    assert model.part_names == ("bpr", "bpr_image", "bpr_text", "bpr_audio", "mda", "msa", "regulariser")


def test_the_seed_decides_the_initial_parameters():
    first, again, other = _model(seed=1), _model(seed=1), _model(seed=2)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert name.endswith("bias") or not torch.equal(value, other.state_dict()[name])


def test_the_same_step_twice_gives_the_same_bits():
    dataset = tiny_dataset()
    batch, runs = random_batch(dataset), []
    for _ in range(2):
        model = _model(dataset, msa="infonce")
        parts = model.loss_parts(batch)
        parts.sum().backward()
        runs.append([parts.detach(), *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*runs))


@pytest.mark.parametrize("modalities", (("image", "text"), ("image", "audio", "text")))
def test_variant_a_with_equal_shares_is_a_constant_preference(modalities):
    """With W = 0 every preference is 1/M and w_dif vanishes: the same model, coefficient by coefficient."""
    dataset = tiny_dataset(modalities=modalities)
    learned = _model(dataset, nlt="preference", preference_init="zero", mda_weight=0.7, msa_weight=0.5)
    fixed = _model(dataset, nlt=f"fixed:{1 / len(modalities)}", mda_weight=0.7, msa_weight=0.5)
    fixed.load_state_dict({name: value for name, value in learned.state_dict().items() if "preferences" not in name})
    batch = random_batch(dataset)
    torch.testing.assert_close(fixed.loss_parts(batch), learned.loss_parts(batch), rtol=1e-6, atol=1e-7)
    for one, other in zip(fixed.embeddings(), learned.embeddings()):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.allclose(fixed.preferences.values()[0], torch.full((), 1 / len(modalities)))


def test_the_trade_off_moves_the_preferences_only_when_told_to():
    """With the fused loss on other nodes, W of a node can only be moved by MDA and MSA (and the regulariser)."""
    dataset = tiny_dataset()
    batch = Batch(*(torch.tensor([number]) for number in (1, 0, 1, 0)))
    for detach in (True, False):
        model = _model(dataset, nlt_detach=detach, reg_weight=0.0)
        model.loss_parts(batch).sum().backward()
        assert bool(model.preferences.users.grad[2:].any()) is not detach
        assert bool(model.preferences.items.grad[2:].any()) is not detach


def test_bfloat16_stays_close_to_float32():
    """Only the towers' first product is rounded, to 8 bits: a few parts in a thousand of a unit row."""
    dataset = tiny_dataset()
    batch = random_batch(dataset)
    full, half = _model(dataset, precision="fp32"), _model(dataset, precision="bf16")
    assert half.towers[0].features.dtype == torch.bfloat16
    torch.testing.assert_close(half.loss_parts(batch), full.loss_parts(batch), rtol=0.02, atol=0.002)
    for one, other in zip(half.embeddings(), full.embeddings()):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()
    half.loss_parts(batch).sum().backward()
    full.loss_parts(batch).sum().backward()
    for (name, one), other in zip(half.named_parameters(), full.parameters()):
        assert one.grad.dtype == torch.float32
        assert (one.grad - other.grad).norm() < 0.05 * other.grad.norm() + 1e-4, name


class ProductPrecisions(TorchDispatchMode):
    """Notes the float32 precision that is set at every matrix product."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.seen.append(torch.backends.cuda.matmul.fp32_precision)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("projection, products", (("mlp", 2 * (2 + 3)), ("linear", 2 * 2)))
def test_tf32_is_for_the_towers_products_alone(projection, products):
    """Two modalities; a layer has a product forward and two back, the first none for the frozen features."""
    dataset = tiny_dataset()
    exact, rounded = (_model(dataset, precision=name, projection=projection) for name in ("fp32", "tf32"))
    before = torch.backends.cuda.matmul.fp32_precision
    with ProductPrecisions() as precisions:
        rounded.loss_parts(random_batch(dataset)).sum().backward()
        assert precisions.seen == ["tf32"] * products
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert precisions.seen[-1] == before == torch.backends.cuda.matmul.fp32_precision != "tf32"
    # A CPU has no TF32: the numbers have to be float32's.
    exact.loss_parts(random_batch(dataset)).sum().backward()
    for (name, one), other in zip(rounded.named_parameters(), exact.parameters()):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_modality_losses_can_be_left_out():
    dataset = tiny_dataset()
    parts = _model(dataset, modality_losses=False).loss_parts(random_batch(dataset))
    assert parts[0] > 0 and not parts[1:3].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "options",
    ({}, {"msa": "infonce", "mda": "fro", "fusion": "sum"}, {"nlt": "free", "item_graph": "blend", "mda": "abs_cos"}),
)
def test_a_gpu_computes_the_same(options):
    dataset = tiny_dataset(modalities=("image", "text", "audio"))
    config = make_config(SMALL | options)
    models = [make_model(config, dataset, torch.device(device)) for device in ("cpu", "cuda")]
    for model in models:
        columns = vars(random_batch(dataset)).values()
        batch = Batch(*(column.to(model.user_table.device) for column in columns))
        model.loss_parts(batch).sum().backward()
    for (name, one), other in zip(models[0].named_parameters(), models[1].parameters()):
        torch.testing.assert_close(other.detach().cpu(), one.detach(), rtol=0, atol=0, msg=name)
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_an_isolated_user_keeps_only_the_first_layer():
    model = _model(n_layers=3, layer_combine="sum")
    users, _ = model.encode()
    own = torch.nn.functional.normalize(model.user_table[0], dim=1)
    torch.testing.assert_close(users[0], own)


def test_an_item_without_content_trains():
    dataset = tiny_dataset()
    dataset.features["image"][3] = 0
    model = _model(dataset)
    batch = random_batch(dataset)
    parts = model.loss_parts(batch)
    parts.sum().backward()
    assert torch.isfinite(parts).all()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() < 100, name  # a row of zeros would send back a gradient over its tiny norm


def test_one_modality_is_refused():
    with pytest.raises(InputError, match="two modalities or more, found image"):
        _model(tiny_dataset(modalities=("image",)))


def test_blend_weights_must_match_the_modalities():
    with pytest.raises(InputError, match="3 weights for 2 modalities"):
        _model(item_graph="blend", blend_weights=(0.2, 0.3, 0.5))


def test_features_of_any_floating_type():
    dataset = tiny_dataset()
    plain = _model(dataset).embeddings()
    for dtype in (np.float64, np.float32):
        typed = dataset.with_features(
            {name: matrix.astype(dtype) for name, matrix in dataset.features.items()}, data="real", note=""
        )
        assert all(torch.equal(one, other) for one, other in zip(_model(typed).embeddings(), plain))
