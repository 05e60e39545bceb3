"""Towers over factors against towers over the features: results, gradients, and the parameters themselves."""

from __future__ import annotations

import pytest
import torch
from matrices import of_rank
from torch.nn import functional as F

from mde_fast.nn.factors import exact_factors, side_by_side
from mde_fast.nn.towers import NEGATIVE_SLOPE, FeatureTower

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
