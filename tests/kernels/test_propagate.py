"""propagate: equations 2 and 3."""

from functools import partial

import pytest
import torch
from comparing import assert_close, check, check_compiled, check_expanded_gradient, check_gradients, check_repeats
from operands import DTYPES, HALF_DTYPES, SYMMETRIC_GRAPHS, WIDTHS, csr, dense, random
from support import forced

from mde_fast.kernels import propagate


def _case(name, device, width=8, dtype=torch.float64, **options):
    graph = SYMMETRIC_GRAPHS[name]().to(device)
    return partial(propagate, graph, **options), {"x": random(graph.shape[0], width, dtype=dtype, device=device)}


def _normalised(graph):
    """D^-1/2 A D^-1/2 as a matrix."""
    adjacency = dense(graph)
    scale = adjacency.sum(1).clamp_min(1).rsqrt()
    return scale[:, None] * adjacency * scale


@pytest.mark.parametrize("combine", ("mean", "sum"))
@pytest.mark.parametrize("layers", (0, 1, 2, 3))
def test_by_dense_algebra(any_implementation, device, layers, combine):
    operator, tensors = _case("isolated nodes", device, layers=layers, combine=combine)
    adjacency, x = _normalised(SYMMETRIC_GRAPHS["isolated nodes"]()), tensors["x"].cpu()
    expected = sum(torch.linalg.matrix_power(adjacency, power) @ x for power in range(layers + 1))
    with forced(any_implementation):
        actual = operator(**tensors).cpu()
    assert_close(actual, expected / (layers + 1) if combine == "mean" else expected, "output")


@pytest.mark.parametrize("combine", ("mean", "sum"))
@pytest.mark.parametrize("layers", (0, 1, 2, 3))
def test_gradcheck(any_implementation, device, layers, combine):
    check_gradients(any_implementation, *_case("tiny", device, 2, layers=layers, combine=combine))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SYMMETRIC_GRAPHS)
def test_graphs(implementation, device, affordable, all_threads, name, dtype):
    operator, tensors = _case(name, device, 17, dtype)
    affordable(tensors["x"].numel())
    check(implementation, operator, tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case("small", device, width, dtype))


@pytest.mark.parametrize("combine", ("mean", "sum"))
@pytest.mark.parametrize("layers", (0, 1, 2, 3))
def test_options(implementation, device, layers, combine):
    check(implementation, *_case("small", device, layers=layers, combine=combine))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case("hub", device, 64, dtype))


def test_strided_input(implementation, device):
    operator, tensors = _case("small", device, 16)
    for x in (tensors["x"][:, ::2], random(8, 12, device=device).T):
        assert not x.is_contiguous()
        check(implementation, operator, {"x": x})


def test_expanded_gradient(implementation, device):
    operator, tensors = _case("small", device)
    check_expanded_gradient(implementation, operator, tensors["x"])


@pytest.mark.parametrize("name", ("hub", "large"))
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, name):
    operator, tensors = _case(name, device, 17, torch.float32)
    affordable(tensors["x"].numel())
    check_repeats(implementation, operator, tensors)


@pytest.mark.parametrize("name", SYMMETRIC_GRAPHS)
def test_writes_every_row(implementation, device, affordable, poisoned_memory, name):
    operator, tensors = _case(name, device, 17)
    affordable(tensors["x"].numel())
    check(implementation, operator, tensors)


def test_result_is_not_the_input(implementation, device):
    operator, tensors = _case("small", device, layers=0)
    with forced(implementation):
        assert operator(**tensors).data_ptr() != tensors["x"].data_ptr()


@pytest.mark.parametrize("combine", ("mean", "sum"))
@pytest.mark.parametrize("name", ("no edges", "tiny"))
def test_compiled(implementation, device, name, combine):
    operator, tensors = _case(name, device, 5, combine=combine)
    with forced(implementation):
        operator.args[0].prepare(torch.float64)
    check_compiled(implementation, operator, tensors)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"x": random(5, 4)}, r"^x has shape \(5, 4\)"),
        ({"x": random(12)}, "^x has shape"),
        ({"layers": -1}, "layers=-1"),
        ({"combine": "max"}, "combine='max'"),
        ({"graph": csr([0, 1], [1, 0], (12, 12))}, "symmetric graph"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"graph": SYMMETRIC_GRAPHS["small"](), "x": random(12, 4)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        propagate(**arguments)


@pytest.mark.parametrize(
    "x, error", ((torch.ones(12, 2, dtype=torch.int64), TypeError), (torch.ones(12, 2, device="meta"), ValueError))
)
def test_types_and_devices_that_do_not_match(any_implementation, x, error):
    with forced(any_implementation), pytest.raises(error, match="^x is "):
        propagate(SYMMETRIC_GRAPHS["small"](), x)
