"""Towers over factors against towers over the features: results, gradients, and the parameters themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from matrices import of_rank
from products import Products, on_a_gpu_without_numbers
from torch.nn import functional as F

from mde_fast.nn.factors import exact_factors, side_by_side
from mde_fast.nn.towers import NEGATIVE_SLOPE, FeatureTower, _LinearIn

D, ITEMS = 4, torch.tensor([3, 0, 59, 3, 17])


def towers(features, *, hidden=None, precision="fp32") -> FeatureTower:
    """A tower whose parameters do not depend on whether the features are factors."""
    return FeatureTower(features, D, hidden=hidden, precision=precision, generator=torch.Generator().manual_seed(2))


def upstream(out):
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)


def results(tower, items=None):
    out = tower(items)
    return [out, *torch.autograd.grad(out, list(tower.parameters()), upstream(out))]


def dense(tower, features, items=None):
    """The formula and its gradients in float64."""
    leaves = [parameter.detach().double().requires_grad_() for parameter in tower.parameters()]
    out = F.linear(features.double(), *leaves[:2])
    if len(leaves) == 4:
        out = F.linear(F.leaky_relu(out, NEGATIVE_SLOPE), *leaves[2:])
    out = out if items is None else out[items]
    return [out, *torch.autograd.grad(out, leaves, upstream(out.float()).double())]


@pytest.mark.parametrize("hidden", (None, 6))
@pytest.mark.parametrize("items", (None, ITEMS))
def test_results_and_gradients_are_those_of_the_features(hidden, items):
    features = of_rank(5)
    tower = towers(exact_factors(features, 15), hidden=hidden)
    plain = towers(features, hidden=hidden)
    assert tower.features.shape == (60, 5)
    for ours, theirs in zip(tower.parameters(), plain.parameters()):
        assert torch.equal(ours, theirs), "the parameters are the same, and so is what a checkpoint holds"
    assert tower.state_dict().keys() == plain.state_dict().keys()
    for ours, expected in zip(results(tower, items), dense(tower, features, items)):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=2e-6 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("items", (None, ITEMS))
def test_modalities_side_by_side_of_which_one_is_deficient(items):
    one, other = of_rank(5), of_rank(7, columns=7, seed=1)
    tower = towers(side_by_side([exact_factors(one, 15), other]))
    both = torch.cat([one, other], dim=1)
    assert tower.features.shape == (60, 12) and tower.first.weight.shape == (D, 31)
    for ours, expected in zip(results(tower, items), dense(tower, both, items)):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=2e-6 * float(expected.detach().abs().max()))


def test_features_without_content():
    features = torch.zeros(60, 24)
    tower = towers(exact_factors(features, 15))
    out, weight, bias = results(tower)
    assert torch.equal(out, tower.first.bias.expand(60, D)) and weight.eq(0).all() and bias.ne(0).all()


@pytest.mark.parametrize("hidden", (None, 6))
@pytest.mark.parametrize("items", (None, ITEMS))
def test_bf16_errs_about_as_much_as_with_the_features(hidden, items):
    """Over several features and parameters, as one tower's roundings may be luckier than another's."""
    ours, plain = torch.zeros(2), torch.zeros(2)
    for seed in range(5):
        features = of_rank(40, 400, 100, seed=seed)
        items = None if items is None else torch.arange(0, 400, 3)
        for sums, made in ((ours, exact_factors(features, 60)), (plain, features)):
            tower = towers(made, hidden=hidden, precision="bf16")
            pairs = list(zip(results(tower, items), dense(tower, features, items)))[:2]  # the result, the gradient of W
            sums += torch.stack([((one - two).norm() / two.norm()).detach().float() for one, two in pairs])
    assert (ours <= 1.25 * plain).all(), (ours, plain)


def test_moved_to_another_type_and_compiled():
    tower = towers(exact_factors(of_rank(5), 15), hidden=6).double()
    assert tower().dtype == torch.float64 and tower.right.block0.dtype == torch.float64
    torch._dynamo.reset()
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), tower())


def test_bf16_on_a_gpu_adds_up_in_float32():
    """A weight's gradient is a sum over all items; neither that nor a part of it is rounded to bfloat16."""
    tower = towers(of_rank(5), precision="bf16")
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert before, "otherwise nothing is tested"
    with on_a_gpu_without_numbers() as products:
        x = torch.empty(60, 24, dtype=torch.bfloat16, device="cuda")
        weight, bias = torch.empty(D, 24, device="cuda"), torch.empty(D, device="cuda")
        assert tower._layer(x, weight, bias).dtype == torch.bfloat16
        kept = SimpleNamespace(
            saved_tensors=(x, weight.bfloat16()), needs_input_grad=(True, True, True), precision="bf16"
        )
        *gradients, _ = _LinearIn.backward(kept, torch.empty(60, D, dtype=torch.bfloat16, device="cuda"))
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]
    bf16, float32 = (torch.bfloat16, False), (torch.float32, False)
    assert products.seen == [((60, D), *bf16), ((60, 24), *bf16), ((D, 24), *float32)]
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == before


def test_bf16_layer_of_a_gpu_has_the_gradients_of_a_linear_layer():
    x = torch.randn(60, 24, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    layer = towers(of_rank(5)).first
    grad = upstream(torch.empty(60, D)).bfloat16()
    leaves = (x, layer.weight, layer.bias)
    ours, exact = (
        _LinearIn.apply(*leaves, "bf16"),
        F.linear(x.double(), layer.weight.bfloat16().double(), layer.bias.double()),
    )
    torch.testing.assert_close(ours.double(), exact, rtol=2**-7, atol=2**-9)
    expected = torch.autograd.grad(exact, leaves, grad.double())
    for one, other, leaf in zip(torch.autograd.grad(ours, leaves, grad), expected, leaves):
        assert one.dtype == leaf.dtype
        torch.testing.assert_close(one.double(), other.double(), rtol=2**-7, atol=2**-7 * float(other.abs().max()))


@pytest.mark.parametrize("hidden", (None, 6))
def test_bf16_on_a_cpu_is_made_of_plain_layers(hidden):
    tower = towers(of_rank(5), hidden=hidden, precision="bf16")
    out = F.linear(tower.features, tower.first.weight.bfloat16(), tower.first.bias.bfloat16())
    if tower.second is not None:
        second = (parameter.bfloat16() for parameter in (tower.second.weight, tower.second.bias))
        out = F.linear(F.leaky_relu(out, NEGATIVE_SLOPE), *second)
    out = out.float()
    expected = [out, *torch.autograd.grad(out, list(tower.parameters()), upstream(out))]
    with Products() as products:
        actual = results(tower)
    assert {dtype for _, dtype, _ in products.seen} == {torch.bfloat16}
    for ours, theirs in zip(actual, expected):
        assert torch.equal(ours, theirs)
