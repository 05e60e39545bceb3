"""Projecting the features of a batch's items: the product it stands for, and what training needs of it."""

from __future__ import annotations

import pytest
import torch

from mde_fast.nn import projection
from mde_fast.nn.projection import project_rows

ITEMS, F, D = 50, 7, 3


def _tensors(count: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(count)
    features, weight = torch.randn(ITEMS, F, generator=generator), torch.randn(D, F, generator=generator)
    return features.to(dtype), torch.randint(ITEMS, (count,), generator=generator), weight.to(dtype)


@pytest.mark.parametrize("count", (0, 1, 20, 300))
@pytest.mark.parametrize("rows_per_block", (1, 4, 128))
@pytest.mark.parametrize("train_features", (True, False))
def test_it_is_a_product_of_the_items_rows(count, rows_per_block, train_features, monkeypatch):
    """For batches with fewer items than there are and with more, with blocks that divide them and that do not."""
    monkeypatch.setattr(projection, "ROWS_PER_BLOCK", rows_per_block)
    features, items, weight = _tensors(count)
    inputs = [features.requires_grad_(train_features), weight.requires_grad_()]
    learned = [tensor for tensor in inputs if tensor.requires_grad]
    ours, plain = project_rows(features, items, weight), features[items] @ weight.T
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    incoming = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    for actual, expected in zip(*(torch.autograd.grad(out, learned, incoming) for out in (ours, plain))):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ("fp32", "tf32", "bf16"))
@pytest.mark.parametrize("count", (20, 300))
def test_a_gpu_gives_the_same(count, precision):
    features, items, weight = _tensors(count, torch.float32)
    results = []
    for device in ("cpu", "cuda"):
        leaves = [tensor.to(device).requires_grad_() for tensor in (features, weight)]
        out = project_rows(leaves[0], items.to(device), leaves[1], precision=precision if device == "cuda" else "fp32")
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    tolerance = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 5e-2}[precision]
    for one, other in zip(*results):
        torch.testing.assert_close(other.cpu(), one, rtol=tolerance, atol=tolerance * float(one.abs().max()))


def test_bits_repeat_and_bf16_rounds_no_more_than_its_inputs():
    features, items, weight = _tensors(200, torch.float32)
    weight.requires_grad_()
    rounded = project_rows(features, items, weight, precision="bf16")
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, features[items] @ weight.T, rtol=5e-2, atol=5e-2)
    first, again = (project_rows(features, items, weight) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(*(torch.autograd.grad(out.sum(), weight)[0] for out in (first, again)))


@pytest.mark.parametrize("train_features", (True, False))
def test_pytorch_can_trace_it(train_features):
    features, items, weight = _tensors(20)
    torch.library.opcheck(torch.ops.mde_fast.project_rows_forward.default, (features, items, weight, "fp32"))
    grad = torch.ones(20, D, dtype=torch.float64)
    arguments = grad, features, items, weight, "fp32", train_features
    torch.library.opcheck(torch.ops.mde_fast.project_rows_backward.default, arguments)
