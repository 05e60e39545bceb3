"""normalize_rows: the inputs E(0)."""

from functools import partial

import pytest
import torch
from support import (
    DTYPES,
    HALF_DTYPES,
    WIDTHS,
    assert_close,
    check,
    check_gradients,
    check_repeats,
    evaluate,
    forced,
    random,
)

from mde_fast.kernels import normalize_rows

SHAPES = ((0, 8), (1, 8), (9, 8), (8,), (0, 2, 8), (5, 3, 8), (4, 3, 2, 5))


def _case(device, *shape, dtype=torch.float64, scale=1.0):
    return partial(normalize_rows, scale=scale), {"x": random(*shape, dtype=dtype, device=device)}


@pytest.mark.parametrize("scale", (1.0, 0.3, -2.0))
def test_by_hand(any_implementation, device, scale):
    operator, tensors = _case(device, 5, 3, 4, scale=scale)
    with forced(any_implementation):
        actual = operator(**tensors).cpu()
    x = tensors["x"].cpu()
    expected = [[scale * row / row.dot(row).sqrt() for row in node] for node in x]
    assert_close(actual, torch.stack([torch.stack(node) for node in expected]), "output")


@pytest.mark.parametrize("scale", (1.0, 0.3, -2.0))
@pytest.mark.parametrize("shape", ((4, 3), (3, 2, 4), (5, 1)))
def test_gradcheck(any_implementation, device, shape, scale):
    check_gradients(any_implementation, *_case(device, *shape, scale=scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", (1.0, 0.3, -2.0))
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(implementation, device, shape, scale, dtype):
    check(implementation, *_case(device, *shape, dtype=dtype, scale=scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    # Rows of one number have nowhere to turn: their gradient vanishes.
    check(implementation, *_case(device, 7, width, dtype=dtype), floor=1.0 if width == 1 else 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large(implementation, device, affordable, all_threads, dtype):
    affordable(5000 * 128)
    check(implementation, *_case(device, 5000, 2, 64, dtype=dtype))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case(device, 30, 64, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_and_tiny_rows(implementation, device, dtype):
    """A zero row stays zero; below the smallest norm the row is only scaled up."""
    operator, tensors = _case(device, 5, 6, dtype=dtype)
    x = tensors["x"]
    x[1] = 0
    x[2] *= 1e-15
    x[3] *= 1e15
    actual = evaluate(implementation, operator, tensors)
    expected = evaluate("reference", operator, {"x": x.double()})
    assert not actual["output 0"][1].any()
    for name in expected:
        # Slopes of 1 / eps would hide those of the other rows.
        for row in range(x.shape[0]):
            assert_close(actual[name][row], expected[name][row], f"{name}, row {row}", floor=0.0)


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device, 6, 8)
    x = tensors["x"]
    for strided in (x.mT, x[::2], x[:, ::2], x.reshape(6, 2, 4).transpose(0, 1)):
        check(implementation, operator, {"x": strided})


def test_expanded_gradient(implementation, device):
    operator, tensors = _case(device, 6, 8)
    x = tensors["x"].requires_grad_()
    gradients = []
    for name in (implementation, "reference"):
        with forced(name):
            gradients += torch.autograd.grad(operator(x).sum(), x)
    assert_close(*gradients, "gradient of x")


def test_repeats_bit_for_bit(implementation, device, affordable, all_threads):
    affordable(3000 * 64)
    check_repeats(implementation, *_case(device, 3000, 64, dtype=torch.float32))


@pytest.mark.parametrize("shape", SHAPES)
def test_writes_every_row(implementation, device, poisoned_memory, shape):
    check(implementation, *_case(device, *shape))


@pytest.mark.parametrize(
    "change, message",
    (({"x": random()}, "^x is a scalar"), ({"scale": 0}, "^scale=0"), ({"scale": 0.0}, "^scale=0")),
)
def test_errors(any_implementation, change, message):
    arguments = {"x": random(5, 4)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        normalize_rows(**arguments)
