"""spmm: equation 4."""

from functools import partial

import pytest
import torch
from aot import NVIDIA, STORAGE, Request, compile_many
from comparing import assert_close, check, check_compiled, check_gradients, check_registered, check_repeats
from operands import DTYPES, GRAPHS, HALF_DTYPES, WIDTHS, csr, dense, random
from support import evaluate, forced

from mde_fast.kernels import CSRGraph, spmm, spmm_blocks
from mde_fast.kernels.spmm.primitives import edge_dot, edges_of, row_sum, row_sum_into

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
@pytest.mark.parametrize(
    "name", ("square with values", "empty rows and columns", "repeated edges", "symmetric, columns out of order")
)
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


@pytest.mark.parametrize("width", (128, 200))
def test_long_rows(implementation, device, width):
    """A row of so many pieces that adding up their sums takes more than one go."""
    graph = csr([0] * 1100 + [1], [*(edge % 4 for edge in range(1100)), 2], (2, 4), values=random(1101)).to(device)
    assert graph.pieces().num_slots == 9 and graph.transpose().pieces().num_slots == 12
    tensors = {"x": random(4, width, dtype=torch.float32, device=device)}
    tensors["residual"] = random(2, width, seed=1, dtype=torch.float32, device=device)
    tensors["values"] = random(1101, seed=2, dtype=torch.float32, device=device)
    check(implementation, partial(spmm, graph), tensors)


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


@pytest.mark.parametrize("name", ("hub row", "square"))
def test_bits_do_not_depend_on_the_order_of_pieces(implementation, device, name):
    graph = GRAPHS[name]().to(device)
    x = random(graph.shape[1], 5, device=device, dtype=torch.float32)
    with forced(implementation):
        edges = edges_of(graph, torch.float32)
        if edges.pieces is None:
            pytest.skip("has no pieces")
        turned = edges._replace(pieces=edges.pieces.flip(0).contiguous())
        assert torch.equal(row_sum(*edges, x, None, 1.0), row_sum(*turned, x, None, 1.0))


@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", GRAPHS)
def test_writes_every_row(implementation, device, affordable, poisoned_memory, name, learned):
    operator, tensors = _case(name, device, 17, learned=learned)
    affordable(tensors["x"].numel())
    check(implementation, operator, tensors)


@pytest.mark.parametrize("learned", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("name", ("no edges", "hub row", "square"))
def test_compiled(implementation, device, name, learned):
    graph = GRAPHS[name]().to(device)
    with forced(implementation):
        graph.prepare(torch.float64)
    tensors = {"x": random(graph.shape[1], 5, device=device), "residual": random(graph.shape[0], 5, device=device)}
    if learned:
        tensors["values"] = random(graph.num_edges, seed=1, device=device)
    check_compiled(implementation, partial(spmm, graph), tensors)


@pytest.mark.parametrize("values", ("constant", "stored", "degree-scaled"))
def test_registered(implementation, device, values):
    graph = (GRAPHS["hub row"] if values == "stored" else GRAPHS["symmetric"])().to(device)
    x, residual = (random(size, 5, seed=size, device=device) for size in (graph.shape[1], graph.shape[0]))
    with forced(implementation):
        edges = edges_of(graph, torch.float64, degree_scaled=values == "degree-scaled")
    check_registered(implementation, row_sum, *edges, x, None, 1.0)
    check_registered(implementation, row_sum, *edges, x, residual, 0.5)
    check_registered(implementation, edge_dot, edges.rowptr, edges.columns, edges.pieces, residual, x)


KERNELS = ("row_sum, constant", "row_sum, stored", "row_sum, degree-scaled", "add_partials", "edge_dot")
OTHER_TARGETS = ("sm_80", "sm_100", "gfx942")
AHEAD = [
    *((name, "sm_90", dtype, width) for name in KERNELS for dtype in STORAGE for width in (64, 128)),
    *((name, "sm_90", "float32", width) for name in KERNELS for width in (16, 17)),
    *((name, target, dtype, 128) for name in KERNELS[1:] for target in OTHER_TARGETS for dtype in STORAGE),
]


def _request(name, target, dtype, width):
    from mde_fast.kernels.spmm import triton_kernels

    kernel, _, values = name.partition(", ")
    sizes = triton_kernels.launch_sizes(width)
    num_warps = sizes.pop("num_warps")
    if kernel == "add_partials":
        sizes["BLOCK_S"] = sizes.pop("BLOCK_E")
    constexprs = {"D": width, "ACC": triton_kernels.tl.float32, **sizes}
    if kernel != "edge_dot":
        constexprs["HAS_RESIDUAL"] = True
    if values:
        constexprs["VALUES"] = ("constant", "stored", "degree-scaled").index(values)
    kernel = f"{kernel}_kernel"
    names = [name for name in getattr(triton_kernels, kernel).arg_names if name not in constexprs]
    types = {"columns_ptr": "*i32", "pieces_ptr": "*i32", "splits_ptr": "*i32", "partial_ptr": "*fp32"}
    types |= {"constant": "fp64", "out_scale": "fp64"}
    signature = {name: types.get(name, f"*{STORAGE[dtype]}") for name in names}
    return Request(f"{triton_kernels.__name__}:{kernel}", signature, constexprs, target, num_warps)


@pytest.mark.parametrize("case", AHEAD, ids=lambda case: "-".join(map(str, case)))
def test_machine_code(case):
    """Nothing spilled, registers for 25 programs (of one warp) on a multiprocessor at usual widths, 16 bytes a load."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request(*case)])
    if case[1] in NVIDIA:
        assert not compiled.spills and compiled.shared <= 256
        assert compiled.registers <= (80 if case[3] >= 64 else 104)
        assert compiled.wide_loads >= 4 or case[3] % 4


@pytest.mark.parametrize("name", KERNELS)
def test_loads_in_flight(name):
    """A thread asks for 8 neighbours before it needs the first, and its registers leave room for 32 programs."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request(name, "sm_90", "float32", 128)])
    assert compiled.wide_loads_in_flight >= 8 and compiled.registers <= 64 and not compiled.spills


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


@pytest.mark.parametrize(
    "change, error, message",
    (
        ({"x": random(19, 4).long()}, TypeError, "^x is torch.int64"),
        ({"x": random(19, 4).to("meta")}, ValueError, "^x is on meta and the graph on cpu"),
        ({"values": random(30).float()}, TypeError, "^values are torch.float32 on cpu, x is torch.float64"),
        ({"residual": random(4, 4).half()}, TypeError, "^residual are torch.float16"),
        ({"residual": random(4, 4).to("meta")}, TypeError, "^residual are torch.float64 on meta"),
    ),
)
def test_types_and_devices_that_do_not_match(any_implementation, change, error, message):
    arguments = {"graph": GRAPHS["wide"](), "x": random(19, 4)} | change
    with forced(any_implementation), pytest.raises(error, match=message):
        spmm(**arguments)


def _blocks(device, width=8, dtype=torch.float64, cut=2):
    """A graph with a row for each of x's, and one whose rows are parts of x's."""
    graphs = GRAPHS["square"]().to(device), GRAPHS["square with values"]().to(device)
    rows = graphs[0].shape[0], graphs[1].shape[0] // cut
    x = random(sum(rows), width, dtype=dtype, device=device)
    return lambda x: spmm_blocks(graphs, x, rows), {"x": x}


@pytest.mark.parametrize("cut", (1, 2))
def test_blocks_are_products(any_implementation, device, cut):
    operator, tensors = _blocks(device, cut=cut)
    graphs = GRAPHS["square"]().to(device), GRAPHS["square with values"]().to(device)
    first, second = tensors["x"].split([graphs[0].shape[0], graphs[1].shape[0] // cut])
    with forced(any_implementation):
        ours = operator(**tensors)
        second = second.reshape(graphs[1].shape[0], -1)
        expected = spmm(graphs[0], first, residual=first), spmm(graphs[1], second, residual=second)
    for one, other in zip(ours, expected):
        assert one.shape[1] == 8 and torch.equal(one, other.view(one.shape))


def test_gradcheck_of_blocks(any_implementation, device):
    check_gradients(any_implementation, *_blocks(device, 2))


@pytest.mark.parametrize("dtype", (*DTYPES, *HALF_DTYPES))
@pytest.mark.parametrize("width", (2, 34, 128))
def test_blocks(implementation, device, poisoned_memory, width, dtype):
    check(implementation, *_blocks(device, width, dtype))


@pytest.mark.parametrize("cut", (1, 2))
def test_blocks_repeat_and_compile(implementation, device, cut):
    operator, tensors = _blocks(device, 16, torch.float32, cut)
    check_repeats(implementation, operator, tensors)
    check_compiled(implementation, operator, tensors)


def test_a_block_without_rows(implementation, device):
    empty = CSRGraph.from_edges(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), (0, 0)).to(device)
    graph = GRAPHS["square"]().to(device)
    x = random(graph.shape[0], 8, device=device)
    check(implementation, lambda x: spmm_blocks((empty, graph), x, (0, len(x))), {"x": x})


def test_one_block_alone_learns(implementation, device):
    """The other's gradient is zero."""
    operator, tensors = _blocks(device)
    check(implementation, lambda x: operator(x)[1], tensors)


def test_registered_into(implementation, device):
    graph = GRAPHS["square"]().to(device)
    x = random(graph.shape[1], 8, device=device)
    with forced(implementation):
        edges = edges_of(graph, x.dtype)
    check_registered(implementation, row_sum_into, *edges, x, x, 0.5, torch.empty_like(x))


@pytest.mark.parametrize(
    "change, message",
    (
        ({"rows": (6, 5)}, r"^x has shape \(9, 4\)"),
        ({"rows": (9,)}, r"^x has shape \(9, 4\)"),
        ({"rows": (5, 4)}, "for 5 rows of 4 numbers"),
        ({"x": random(9, 3)}, "for 3 rows of 3 numbers"),
        ({"graphs": (GRAPHS["wide"](), GRAPHS["square"]())}, "must be square"),
    ),
)
def test_errors_of_blocks(any_implementation, change, message):
    arguments = {"graphs": (GRAPHS["square"](),) * 2, "x": random(9, 4), "rows": (6, 3)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        spmm_blocks(**arguments)
