"""spmm: equation 4."""

from functools import partial

import pytest
import torch
from support import (
    DTYPES,
    GRAPHS,
    HALF_DTYPES,
    WIDTHS,
    assert_close,
    check,
    check_gradients,
    check_repeats,
    dense,
    evaluate,
    forced,
    random,
)

from mde_fast.kernels import spmm

VALUES = {"graph's values": False, "learned values": True}
RESIDUAL = {"no residual": False, "residual": True}


def _case(name, device, width=8, dtype=torch.float64, learned=False, residual=False):
    graph = GRAPHS[name]().to(device)
    tensors = {"x": random(graph.shape[1], width, dtype=dtype, device=device)}
    if learned:
        tensors["values"] = random(graph.num_edges, seed=1, dtype=dtype, device=device)
    if residual:
        tensors["residual"] = random(graph.shape[0], width, seed=2, dtype=dtype, device=device)
    return partial(spmm, graph), tensors


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "large"])
def test_by_dense_algebra(any_implementation, device, name):
    operator, tensors = _case(name, device, residual=True)
    results = evaluate(any_implementation, operator, tensors)
    matrix = dense(GRAPHS[name]())
    expected = tensors["residual"].cpu() + matrix @ tensors["x"].cpu()
    upstream = random(*expected.shape, seed=1000).bfloat16().double()
    assert_close(results["output 0"].cpu(), expected, "output")
    assert_close(results["gradient of x"].cpu(), matrix.T @ upstream, "gradient of x")


@pytest.mark.parametrize("residual", RESIDUAL.values(), ids=RESIDUAL)
@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", ("square with values", "empty rows and columns", "repeated edges", "symmetric"))
def test_gradcheck(any_implementation, device, name, learned, residual):
    check_gradients(any_implementation, *_case(name, device, 2, learned=learned, residual=residual))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(implementation, device, affordable, all_threads, name, learned, dtype):
    operator, tensors = _case(name, device, 17, dtype, learned, residual=True)
    affordable(tensors["x"].numel())
    check(implementation, operator, tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case("tall", device, width, dtype, learned=True, residual=True))


@pytest.mark.parametrize("residual", RESIDUAL.values(), ids=RESIDUAL)
@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
def test_options(implementation, device, learned, residual):
    check(implementation, *_case("square", device, learned=learned, residual=residual))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("name", ("square", "hub row"))
def test_half_precision(implementation, device, name, dtype):
    check(implementation, *_case(name, device, 64, dtype, residual=True))


def test_input_as_residual(implementation, device):
    operator, tensors = _case("square", device)
    check(implementation, lambda x: operator(x, residual=x), tensors)


@pytest.mark.parametrize("learns", ("x", "values", "residual"))
def test_one_gradient_alone(implementation, device, learns):
    operator, tensors = _case("wide", device, learned=True, residual=True)
    alone = tensors.pop(learns)
    check(implementation, partial(operator, **tensors), {learns: alone})


def test_strided_inputs(implementation, device):
    operator, tensors = _case("tall", device, 16, learned=True, residual=True)
    wide = {name: tensor.repeat_interleave(2, dim=-1) for name, tensor in tensors.items()}
    check(implementation, operator, {name: tensor[..., ::2] for name, tensor in wide.items()})
    matrices = {name: tensors[name].mT.contiguous().mT for name in ("x", "residual")}
    check(implementation, operator, tensors | matrices)


def test_expanded_gradient(implementation, device):
    operator, tensors = _case("tall", device, learned=True, residual=True)
    names = list(tensors)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]
    gradients = []
    for choice in (implementation, "reference"):
        with forced(choice):
            gradients.append(torch.autograd.grad(operator(**tensors).sum(), leaves))
    for name, actual, expected in zip(names, *gradients):
        assert_close(actual, expected, f"gradient of {name}")


@pytest.mark.parametrize("name", ("hub row", "hub column", "large"))
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, name):
    operator, tensors = _case(name, device, 17, torch.float32, learned=True, residual=True)
    affordable(tensors["x"].numel())
    check_repeats(implementation, operator, tensors)


@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", GRAPHS)
def test_writes_every_row(implementation, device, affordable, poisoned_memory, name, learned):
    operator, tensors = _case(name, device, 17, learned=learned)
    affordable(tensors["x"].numel())
    check(implementation, operator, tensors)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"x": random(4, 4)}, r"^x has shape \(4, 4\)"),
        ({"x": random(19)}, "^x has shape"),
        ({"values": random(29)}, r"\(29,\) values"),
        ({"residual": random(19, 4)}, r"^residual has shape \(19, 4\)"),
        ({"residual": random(4, 1)}, r"^residual has shape \(4, 1\)"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"graph": GRAPHS["wide"](), "x": random(19, 4)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        spmm(**arguments)
