"""edge_dots, edge_softmax, source_rows: attention over a graph's edges."""

from functools import partial

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check, check_compiled, check_gradients, check_registered, check_repeats
from operands import DTYPES, GRAPHS, HALF_DTYPES, SYMMETRIC_GRAPHS, WIDTHS, csr, random
from support import evaluate, forced

from mde_fast.kernels import edge_dots, edge_softmax, source_rows
from mde_fast.kernels.edges.primitives import edge_softmax_backward, edge_softmax_forward, rows_of

OPERATORS = (edge_dots, edge_softmax, source_rows)
SMALL = [name for name in GRAPHS if name != "large"]


def _case(operator, graph, device, width=8, dtype=torch.float64):
    graph = graph.to(device)
    rows, columns = graph.shape
    shapes = {
        edge_dots: {"left": (rows, width), "right": (columns, width)},
        edge_softmax: {"scores": (graph.num_edges,)},
        source_rows: {"table": (columns, width)},
    }[operator]
    tensors = {
        name: random(*shape, seed=seed, dtype=dtype, device=device) for seed, (name, shape) in enumerate(shapes.items())
    }
    return partial(operator, graph), tensors


def _long_rows():
    """Rows of one edge, of a whole piece, of a piece and an edge, and of more pieces than are put together at once."""
    lengths = (1, 128, 0, 129, 128 * 257 + 5, 3)
    rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    return csr(rows, [edge % 7 for edge in range(len(rows))], (len(lengths), 7))


each_operator = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)


@pytest.mark.parametrize("name", SMALL)
def test_by_hand(any_implementation, device, name):
    """Edge by edge in Python's own numbers."""
    graph = GRAPHS[name]()
    rows, columns = graph.rows().tolist(), graph.columns.tolist()
    results = {}
    for operator in OPERATORS:
        call, tensors = _case(operator, graph, device, 3)
        with forced(any_implementation):
            results[operator.__name__] = call(**tensors).cpu()
    left, right = random(graph.shape[0], 3), random(graph.shape[1], 3, seed=1)
    scores, table = random(graph.num_edges), random(graph.shape[1], 3)
    totals = [0.0] * graph.shape[0]
    for edge, row in enumerate(rows):
        totals[row] += float(scores[edge].exp())
    for edge, (row, column) in enumerate(zip(rows, columns)):
        torch.testing.assert_close(results["edge_dots"][edge], left[row] @ right[column])
        torch.testing.assert_close(results["edge_softmax"][edge], scores[edge].exp() / totals[row])
        assert torch.equal(results["source_rows"][edge], table[column])


@pytest.mark.parametrize(
    "name", ("square", "empty rows and columns", "repeated edges", "symmetric, columns out of order")
)
@each_operator
def test_gradcheck(any_implementation, device, operator, name):
    check_gradients(any_implementation, *_case(operator, GRAPHS[name](), device, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GRAPHS)
@each_operator
def test_graphs(implementation, device, affordable, all_threads, operator, name, dtype):
    call, tensors = _case(operator, GRAPHS[name](), device, 17, dtype)
    affordable(next(iter(tensors.values())).numel())
    check(implementation, call, tensors)


@pytest.mark.parametrize("name", ("no nodes", "no edges", "isolated nodes", "hub", "large hub"))
@each_operator
def test_symmetric_graphs(implementation, device, affordable, operator, name):
    """Their transpose is themselves, and the order of its edges another."""
    call, tensors = _case(operator, SYMMETRIC_GRAPHS[name](), device)
    affordable(next(iter(tensors.values())).numel())
    check(implementation, call, tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("operator", (edge_dots, source_rows), ids=lambda operator: operator.__name__)
def test_widths(implementation, device, operator, width, dtype):
    check(implementation, *_case(operator, GRAPHS["tall"](), device, width, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows(implementation, device, dtype):
    """The interpreter takes them too: one program of a piece costs it as much as one of a row."""
    check(implementation, *_case(edge_softmax, _long_rows(), device, dtype=dtype))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("name", ("square", "hub row"))
@each_operator
def test_half_precision(implementation, device, operator, name, dtype):
    check(implementation, *_case(operator, GRAPHS[name](), device, 64, dtype))


def test_large_scores_do_not_overflow(any_implementation, device):
    graph = csr([0, 0, 1, 3, 3, 3], [1, 2, 0, 0, 1, 3], (5, 4)).to(device)
    scores = torch.tensor([1000.0, 1000.0, -1000.0, 1000.0, 0.0, -torch.inf], device=device)
    with forced(any_implementation):
        alpha = edge_softmax(graph, scores)
    torch.testing.assert_close(alpha.cpu(), torch.tensor([0.5, 0.5, 1.0, 1.0, 0.0, 0.0]))


def test_large_scores_of_a_long_row(any_implementation, device):
    """Each piece has a largest score of its own, and the row's counts."""
    graph = csr([0] * 300, list(range(300)), (1, 300)).to(device)
    scores = torch.linspace(-2000.0, 1000.0, 300, device=device)
    with forced(any_implementation):
        alpha = edge_softmax(graph, scores)
    torch.testing.assert_close(alpha.cpu(), torch.softmax(scores.cpu(), 0))


@pytest.mark.parametrize("learns", ("left", "right"))
def test_one_gradient_alone(implementation, device, learns):
    call, tensors = _case(edge_dots, GRAPHS["wide"](), device)
    alone = tensors.pop(learns)
    check(implementation, partial(call, **tensors), {learns: alone})


@each_operator
def test_strided_inputs(implementation, device, operator):
    call, tensors = _case(operator, GRAPHS["tall"](), device, 16)
    wide = {name: tensor.repeat_interleave(2, dim=-1) for name, tensor in tensors.items()}
    check(implementation, call, {name: tensor[..., ::2] for name, tensor in wide.items()})
    if operator is not edge_softmax:
        check(implementation, call, {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()})


@each_operator
def test_expanded_gradient(implementation, device, operator):
    """The gradient that comes in has a stride of 0, as that of a sum has."""
    call, tensors = _case(operator, GRAPHS["tall"](), device)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]
    gradients = []
    for choice in (implementation, "reference"):
        with forced(choice):
            gradients.append(torch.autograd.grad(call(**tensors).sum(), leaves))
    for name, actual, expected in zip(tensors, *gradients):
        assert_close(actual, expected, f"gradient of {name}", floor=1e-3)  # that of a softmax's sum vanishes


@pytest.mark.parametrize("name", ("hub row", "hub column", "large"))
@each_operator
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, operator, name):
    call, tensors = _case(operator, GRAPHS[name](), device, 17, torch.float32)
    affordable(next(iter(tensors.values())).numel())
    check_repeats(implementation, call, tensors)


def test_long_rows_repeat_bit_for_bit(implementation, device):
    check_repeats(implementation, *_case(edge_softmax, _long_rows(), device, dtype=torch.float32))


@pytest.mark.parametrize("name", SMALL)
@each_operator
def test_writes_every_edge(implementation, device, poisoned_memory, operator, name):
    check(implementation, *_case(operator, GRAPHS[name](), device, 17))


def test_writes_every_edge_of_long_rows(implementation, device, poisoned_memory):
    check(implementation, *_case(edge_softmax, _long_rows(), device))


@pytest.mark.parametrize("name", ("no edges", "hub row", "square", "symmetric"))
@each_operator
def test_compiled(implementation, device, operator, name):
    call, tensors = _case(operator, GRAPHS[name](), device, 5)
    with forced(implementation):
        call.args[0].prepare(torch.float64)
    check_compiled(implementation, call, tensors)


@pytest.mark.parametrize("dtype", (torch.float64, torch.float16))
@pytest.mark.parametrize("name", ("no edges", "hub row", "square"))
def test_registered(implementation, device, name, dtype):
    graph = GRAPHS[name]().to(device)
    scores, grad = (random(graph.num_edges, seed=seed, dtype=dtype, device=device) for seed in range(2))
    with forced(implementation):
        rows = rows_of(graph)
        alpha = edge_softmax_forward(*rows, scores)
    check_registered(implementation, edge_softmax_forward, *rows, scores)
    check_registered(implementation, edge_softmax_backward, *rows, grad, alpha)


def test_a_chain_as_attention_has_it(implementation, device):
    """All three together, values and gradients."""
    graph = GRAPHS["tall"]().to(device)

    def attention(left, right):
        alpha = edge_softmax(graph, edge_dots(graph, left, right))
        return alpha[:, None] * source_rows(graph, right)

    tensors = {"left": random(19, 8, device=device), "right": random(4, 8, seed=1, device=device)}
    check(implementation, attention, tensors)
    assert evaluate(implementation, attention, tensors)["output 0"].shape == (30, 8)


KERNELS = (
    "edge_softmax_forward_kernel",
    "long_rows_forward_kernel",
    "edge_softmax_backward_kernel",
    "long_rows_backward_kernel",
)


def _request(kernel, target, dtype, index="*i32"):
    from mde_fast.kernels.edges import triton_kernels

    sizes = triton_kernels.row_sizes() if kernel.startswith("long") else triton_kernels.piece_sizes()
    num_warps = sizes.pop("num_warps")
    constexprs = {"ACC": triton_kernels.tl.float64 if dtype == "float64" else triton_kernels.tl.float32, **sizes}
    names = [name for name in getattr(triton_kernels, kernel).arg_names if name not in constexprs]
    types = dict.fromkeys(("pieces_ptr", "rowptr_ptr", "splits_ptr"), index)
    types["partial_ptr"] = "*fp64" if dtype == "float64" else "*fp32"
    storage = STORAGE | {"float64": "fp64"}
    signature = {name: types.get(name, f"*{storage[dtype]}") for name in names}
    return Request(f"{triton_kernels.__name__}:{kernel}", signature, constexprs, target, num_warps)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_machine_code(kernel, target):
    """Nothing spilled, registers for all the threads of a multiprocessor, shared memory for a sum between warps."""
    pytest.importorskip("triton")
    cases = [(dtype, "*i32") for dtype in (*STORAGE, "float64")] + [("float32", "*i64")]
    requests = [_request(kernel, target, *case) for case in cases]
    for request, compiled in zip(requests, compile_many(requests)):
        assert compiled.shared <= 256, request
        if target in NVIDIA:
            assert compiled.registers <= 64 and not compiled.spills, (request, compiled)


@pytest.mark.parametrize(
    "operator, tensors, error, message",
    (
        (edge_dots, (random(5, 4), random(19, 4)), ValueError, r"^left has shape \(5, 4\)"),
        (edge_dots, (random(4, 4), random(18, 4)), ValueError, r"^right has shape \(18, 4\)"),
        (edge_dots, (random(4, 4), random(19, 5)), ValueError, "^left has 4 columns and right 5"),
        (edge_dots, (random(4, 4), random(19, 4).float()), TypeError, "^left is torch.float64 and right torch.float32"),
        (edge_dots, (random(4, 4).to("meta"), random(19, 4)), ValueError, "^left is on meta and the graph on cpu"),
        (edge_dots, (random(4, 4).long(), random(19, 4)), TypeError, "^left is torch.int64"),
        (edge_softmax, (random(29),), ValueError, r"^scores have shape \(29,\), expected \(30,\)"),
        (edge_softmax, (random(30, 1),), ValueError, r"^scores have shape \(30, 1\)"),
        (edge_softmax, (random(30).to("meta"),), ValueError, "^scores are on meta and the graph on cpu"),
        (edge_softmax, (random(30).long(),), TypeError, "^scores are torch.int64"),
        (source_rows, (random(18, 2),), ValueError, r"^table has shape \(18, 2\)"),
        (source_rows, (random(19),), ValueError, r"^table has shape \(19,\)"),
        (source_rows, (random(19, 2).to("meta"),), ValueError, "^table is on meta"),
        (source_rows, (random(19, 2).long(),), TypeError, "^table is torch.int64"),
    ),
)
def test_errors(any_implementation, operator, tensors, error, message):
    with forced(any_implementation), pytest.raises(error, match=message):
        operator(GRAPHS["wide"](), *tensors)
