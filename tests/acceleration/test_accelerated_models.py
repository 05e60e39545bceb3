"""Models of others train to the same numbers, accelerated or not."""

import copy

import numpy as np
import pytest
import torch
from other_models import MODELS, TOLERANCE, assert_same_training, dataset, train

from mde_fast import accelerate
from mde_fast.ranking.evaluator import Evaluator


def _make(name, data, dtype):
    torch.manual_seed(0)
    return MODELS[name](data, dtype)


def _recall(model, data) -> dict[str, float]:
    with torch.no_grad():
        return Evaluator(data, (5, 10))(*model.eval()(), "test")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same(name, dtype):
    """Losses and gradients of two epochs, and the metrics after them."""
    data = dataset()
    plain, fast = _make(name, data, dtype), _make(name, data, dtype)
    acceleration = accelerate(fast, min_edges=0)
    expected, actual = train(plain, data), train(fast, data)
    assert_same_training(actual, expected, dtype)
    assert len(set(expected["losses"])) == len(expected["losses"]), "the model learns"
    assert _recall(fast, data) == pytest.approx(_recall(plain, data), abs=1e-9 if dtype == torch.float64 else 0.02)
    report = acceleration.report()
    assert sum(replaced.products for replaced in report.replaced) >= 6 * 2
    assert not [what for what in report.left_to_torch if "mm" in what or "matmul" in what], "every product is ours"


@pytest.mark.parametrize("name", MODELS)
def test_undo(name):
    """The very same objects come back, and train as ever."""
    data = dataset()
    plain, fast = _make(name, data, torch.float64), _make(name, data, torch.float64)
    before = dict(_sparse(fast))
    assert before
    acceleration = accelerate(fast, min_edges=0)
    assert all(type(value) is not torch.Tensor for _, value in _sparse(fast)) and type(fast) is not MODELS[name]
    acceleration.undo()
    after = dict(_sparse(fast))
    assert after.keys() == before.keys() and all(after[path] is before[path] for path in before)
    assert type(fast) is MODELS[name]
    assert train(fast, data)["losses"] == train(plain, data)["losses"]
    assert not acceleration.report().left_to_torch


def test_undo_after_training_leaves_what_was_assigned_meanwhile():
    data = dataset()
    model = _make("EdgeDropoutViews", data, torch.float64)
    acceleration = accelerate(model, min_edges=0)
    train(model, data)
    values = [view.to_dense() for view in model.views]
    acceleration.undo()
    assert [type(view) for view in model.views] == [torch.Tensor] * 2
    assert all(torch.equal(view.to_dense(), dense) for view, dense in zip(model.views, values))


def _sparse(module):
    for name, value in [*vars(module).items(), *module._buffers.items()]:
        values = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        for index, item in enumerate(values):
            if isinstance(item, torch.Tensor) and item.layout != torch.strided:
                yield f"{name} {index}", item


def test_a_deep_copy_is_accelerated_and_apart():
    data = dataset()
    model = _make("MaskedAdjacency", data, torch.float64)
    acceleration = accelerate(model, min_edges=0)
    twin = copy.deepcopy(model)
    expected = train(model, data)["losses"]
    products = sum(replaced.products for replaced in acceleration.report().replaced)
    assert train(twin, data)["losses"] == expected
    assert sum(replaced.products for replaced in acceleration.report().replaced) > products
    assert twin.mm_adj is not model.mm_adj and twin.mm_adj.plain is not model.mm_adj.plain
    accelerate(twin, min_edges=0).undo()
    assert type(twin) is MODELS["MaskedAdjacency"] and type(twin.mm_adj) is torch.Tensor


def test_a_saved_model_is_plain(tmp_path):
    """No class of ours in the file: it loads where mde_fast is not installed."""
    data = dataset()
    model = _make("ModalityTowers", data, torch.float64)
    accelerate(model, min_edges=0)
    path = tmp_path / "model.pt"
    torch.save(model, path)
    assert b"mde_fast" not in path.read_bytes()
    loaded = torch.load(path, weights_only=False)
    assert type(loaded) is MODELS["ModalityTowers"] and type(loaded.R) is torch.Tensor
    for ours, theirs in zip(loaded(), model()):
        torch.testing.assert_close(ours, theirs)


def test_state_dict(tmp_path):
    data = dataset()
    plain, fast = _make("CsrBuffer", data, torch.float64), _make("CsrBuffer", data, torch.float64)
    acceleration = accelerate(fast, min_edges=0)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    torch.save(fast.state_dict(), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert type(loaded["graph"]) is torch.Tensor
    with torch.no_grad():
        fast.embedding.zero_()
    fast.load_state_dict(loaded)
    for ours, theirs in zip(fast(), plain()):
        torch.testing.assert_close(ours, theirs)
    assert acceleration.report().replaced[0].products > 0


def test_half_a_models_life_on_another_type():
    """``model.float()`` converts the buffer, which stays accelerated."""
    data = dataset()
    model = _make("CsrBuffer", data, torch.float64)
    acceleration = accelerate(model, min_edges=0)
    exact = model()
    model.half().float()
    assert model.graph.dtype == torch.float32
    for ours, theirs in zip(model(), exact):
        torch.testing.assert_close(ours, theirs.float(), rtol=3e-3, atol=1e-3)
    assert acceleration.report().replaced[0].products == 4


def test_evaluated_under_inference_mode_before_training():
    data = dataset()
    plain, fast = (_make("MaskedAdjacency", data, torch.float64) for _ in range(2))
    acceleration = accelerate(fast, min_edges=0)
    for model in (plain, fast):
        model.begin_epoch(np.random.default_rng(0))
    with torch.inference_mode():
        torch.testing.assert_close(fast.eval()(), plain.eval()())
        torch.testing.assert_close(fast.train()(), plain.train()())
    assert train(fast, data)["losses"] == pytest.approx(train(plain, data)["losses"], rel=1e-9)
    assert not acceleration.report().left_to_torch


def test_a_layer_added_later():
    data = dataset()
    model = _make("CooAttribute", data, torch.float64)
    acceleration = accelerate(model, min_edges=0)
    model.other = _make("CsrBuffer", data, torch.float64)
    model.other()
    products = {replaced.name: replaced.products for replaced in acceleration.report().replaced}
    assert products == {"norm_adj": 0, "other.graph": 2}


def test_small_matrices_stay_with_pytorch():
    data = dataset()
    model = _make("CooAttribute", data, torch.float64)
    acceleration = accelerate(model)
    model()
    assert acceleration.report().left_to_torch == {"_sparse_mm: fewer than 1,000 edges": 2}


def test_compiled():
    """``torch.compile`` steps aside at the products; the numbers stay."""
    data = dataset()
    model = _make("CooAttribute", data, torch.float64)
    expected = [out.detach() for out in model()]
    acceleration = accelerate(model, min_edges=0)
    torch._dynamo.reset()
    compiled = torch.compile(lambda: model.all_embeddings(), backend="aot_eager")
    compiled()
    torch.testing.assert_close(compiled(), torch.cat(expected))
    assert acceleration.report().replaced[0].products >= 4
