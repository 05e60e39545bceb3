"""normalize_rows: the inputs E(0)."""

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check, check_compiled, check_expanded_gradient, check_gradients, check_repeats
from operands import DTYPES, HALF_DTYPES, WIDTHS, random
from support import evaluate, forced

from mde_fast.kernels import normalize_rows, normalize_rows_with_norms

SHAPES = ((0, 8), (1, 8), (9, 8), (8,), (0, 2, 8), (5, 3, 8), (4, 3, 2, 5))


def _case(device, *shape, dtype=torch.float64, scale=1.0):
    return lambda x: normalize_rows(x, scale=scale), {"x": random(*shape, dtype=dtype, device=device)}


def _stacked(device, *rows, shape=(2, 8), dtype=torch.float64, scale=1.0):
    """Tables of so many rows, normalised on top of each other, and their norms."""

    def operator(**tables):
        return normalize_rows_with_norms(*tables.values(), scale=scale)

    tables = {f"x{n}": random(count, *shape, seed=n, dtype=dtype, device=device) for n, count in enumerate(rows)}
    return operator, tables


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


@pytest.mark.parametrize("scale", (1.0, -2.0))
@pytest.mark.parametrize("rows", ((3,), (2, 3), (1, 0, 2)))
def test_gradcheck_of_stacked_tables(any_implementation, device, rows, scale):
    check_gradients(any_implementation, *_stacked(device, *rows, shape=(2, 3), scale=scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((8,), (2, 17), (3, 2, 4)))
@pytest.mark.parametrize("rows", ((5,), (5, 3), (0, 4), (4, 0), (0, 0), (300, 1, 20)))
def test_stacked_tables(implementation, device, poisoned_memory, rows, shape, dtype):
    check(implementation, *_stacked(device, *rows, shape=shape, dtype=dtype, scale=0.3))


def _columns(device, *tables, shape=(8,), dtype=torch.float64, scale=0.3):
    """Tables of so many rows: (rows, M) as M tensors, rows alone as one of two columns."""
    tensors, groups = {}, []
    for number, table in enumerate(tables):
        count, columns = table if isinstance(table, tuple) else (table, 0)
        names = [f"x{number}_{column}" for column in range(max(columns, 1))]
        groups.append((names, columns))
        for column, name in enumerate(names):
            own = (count, *shape) if columns else (count, 2, *shape)
            tensors[name] = random(*own, seed=10 * number + column, dtype=dtype, device=device)

    def operator(**given):
        made = [[given[name] for name in names] if columns else given[names[0]] for names, columns in groups]
        return normalize_rows_with_norms(*made, scale=scale)

    return operator, tensors


COLUMNS = (((5, 2),), (4, (5, 2)), ((5, 2), 4), ((0, 2), 3), (3, (0, 2)), ((3, 2), (300, 2), 2, (1, 2)))


@pytest.mark.parametrize("tables", COLUMNS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns(implementation, device, poisoned_memory, tables, dtype):
    check(implementation, *_columns(device, *tables, dtype=dtype))


@pytest.mark.parametrize("columns", (1, 3, 6))
def test_so_many_columns(implementation, device, columns):
    """More than one launch goes over."""
    check(implementation, *_columns(device, (5, columns)))


def test_gradcheck_of_columns(any_implementation, device):
    check_gradients(any_implementation, *_columns(device, 2, (3, 2), shape=(3,)))


def test_columns_are_stacked(any_implementation, device):
    users, *columns = (random(*shape, seed=n, device=device) for n, shape in enumerate(((4, 3, 8), *((5, 8),) * 3)))
    with forced(any_implementation):
        ours = normalize_rows_with_norms(users, columns)
        expected = normalize_rows_with_norms(users, torch.stack(columns, dim=1))
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_columns_in_half_precision(implementation, device, dtype):
    operator, tensors = _columns(device, 3, (20, 2), shape=(64,), dtype=dtype)
    check(implementation, lambda **given: operator(**given)[0], tensors)


def test_columns_repeat_and_compile(implementation, device):
    operator, tensors = _columns(device, 3, (20, 2), shape=(17,), dtype=torch.float32)
    check_repeats(implementation, operator, tensors)
    check_compiled(implementation, operator, tensors)


def test_registered_operators_of_columns(implementation, device):
    tensors = [random(4, 2, 8, device=device), *(random(5, 8, seed=seed, device=device) for seed in (1, 2))]
    operators = torch.ops.mde_fast
    with forced(implementation):
        torch.library.opcheck(operators.normalize_rows_forward.default, (tensors, 0.3, [0, 2]))
        out, norms = operators.normalize_rows_forward(tensors, 0.3, [0, 2])
        arguments = torch.randn_like(out), torch.randn_like(norms), norms, tensors, 0.3, [0, 2]
        torch.library.opcheck(operators.normalize_rows_backward.default, arguments)


@pytest.mark.parametrize("used", (0, 1), ids=("rows alone", "norms alone"))
def test_one_output_alone(implementation, device, used):
    operator, tables = _stacked(device, 5, 3, scale=0.3)
    check(implementation, lambda **leaves: operator(**leaves)[used], tables)


def test_stacking_is_concatenation(any_implementation, device):
    first, second = random(5, 2, 8, device=device), random(3, 2, 8, seed=1, device=device)
    with forced(any_implementation):
        stacked, norms = normalize_rows_with_norms(first, second, scale=0.3)
        apart = [normalize_rows(table, scale=0.3) for table in (first, second)]
    assert torch.equal(stacked, torch.cat(apart))
    assert_close(norms, torch.cat([first, second]).norm(dim=-1), "norms")


def test_stacked_slices(implementation, device):
    """Tables that are not contiguous, and a gradient that is a slice."""
    operator, tables = _stacked(device, 6, 4)
    strided = {name: table.transpose(0, 1).contiguous().transpose(0, 1) for name, table in tables.items()}
    check(implementation, operator, strided)
    check(implementation, lambda **leaves: operator(**leaves)[0][::2], tables)


def test_a_frozen_table_has_no_gradient(any_implementation, device):
    frozen, learned = random(4, 3, device=device), random(2, 3, seed=1, device=device).requires_grad_()
    with forced(any_implementation):
        (gradient,) = torch.autograd.grad(normalize_rows(frozen, learned).square().sum(dim=-1)[4:, None].sum(), learned)
    assert_close(gradient, torch.zeros_like(gradient), "gradient of a norm that is 1", floor=1e-3)


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


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_zero_rows_in_half_precision(implementation, device, dtype):
    """The smallest norm is none of float16's numbers."""
    operator, tensors = _case(device, 5, 8, dtype=dtype)
    tensors["x"][1] = 0
    with forced(implementation):
        assert not operator(**tensors)[1].any()


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device, 6, 8)
    x = tensors["x"]
    for strided in (x.mT, x[::2], x[:, ::2], x.reshape(6, 2, 4).transpose(0, 1)):
        check(implementation, operator, {"x": strided})


def test_expanded_gradient(implementation, device):
    operator, tensors = _case(device, 6, 8)
    check_expanded_gradient(implementation, operator, tensors["x"])


def test_repeats_bit_for_bit(implementation, device, affordable, all_threads):
    affordable(3000 * 64)
    check_repeats(implementation, *_case(device, 3000, 64, dtype=torch.float32))
    check_repeats(implementation, *_stacked(device, 2000, 1000, shape=(64,), dtype=torch.float32))


@pytest.mark.parametrize("shape", SHAPES)
def test_writes_every_row(implementation, device, poisoned_memory, shape):
    check(implementation, *_case(device, *shape))


@pytest.mark.parametrize("scale", (0, 0.0))
def test_no_scale(any_implementation, scale):
    with forced(any_implementation), pytest.raises(ValueError, match="^scale=0"):
        normalize_rows(random(5, 4), scale=scale)


@pytest.mark.parametrize(
    "tables, message",
    (
        ((), "^no table"),
        ((random(),), "^x is a scalar"),
        ((random(3), random(3)), r"^tables of \(3,\) .* and \(3,\)"),
        ((random(5, 4), random(5, 3)), r"^tables of \(5, 4\) .* and \(5, 3\)"),
        ((random(5, 4), random(5, 2, 4)), r"^tables of \(5, 4\) .* and \(5, 2, 4\)"),
        (((),), "^columns of a table .* got none"),
        (([random(5, 4), random(4, 4)],), r"^columns of a table .* got \(4, 4\) torch.float64, \(5, 4\)"),
        (([random(5, 2, 4)],), r"^columns of a table .* got \(5, 2, 4\)"),
        ((random(5, 3, 4), [random(5, 4)] * 2), r"^tables of \(5, 3, 4\) .* and \(5, 2, 4\)"),
        ((random(5, 4), random(5, 4).float()), r"torch.float64 and \(5, 4\) torch.float32 cannot be stacked"),
    ),
)
def test_errors(any_implementation, tables, message):
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        normalize_rows(*tables)


@pytest.mark.parametrize("others", (0, 1))
def test_registered_operators(implementation, device, others):
    tables = [random(5, 3, 8, seed=seed, device=device) for seed in range(1 + others)]
    operators = torch.ops.mde_fast
    with forced(implementation):
        torch.library.opcheck(operators.normalize_rows_forward.default, (tables, 0.3))
        out, norms = operators.normalize_rows_forward(tables, 0.3)
        grad, grad_norms = torch.randn_like(out), torch.randn_like(norms)
        for of_norms in (grad_norms, None):
            arguments = grad, of_norms, norms, tables, 0.3
            torch.library.opcheck(operators.normalize_rows_backward.default, arguments)


@pytest.mark.parametrize("rows", ((5,), (5, 3)))
def test_compiled_as_one_graph(implementation, device, rows):
    operator, tensors = _stacked(device, *rows, shape=(3, 8), scale=0.3)
    torch.compiler.reset()
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    actual, expected = (evaluate(implementation, function, tensors) for function in (compiled, operator))
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


def _request(direction: str, dtype: str, target: str, width: int, sources: int) -> Request:
    from mde_fast.kernels.normalize_rows.triton_kernels import NORM_EPS, SOURCES, accumulator, launch_sizes

    of_sources = ["count", "first", "step"]
    rows = [f"x{number}_ptr" for number in range(SOURCES)] + ["out_ptr" if direction == "forward" else "grad_ptr"]
    signature, options = {"norm_ptr": "*fp32", "scale": "fp64"}, {"SOURCES": sources}
    if direction == "backward":
        signature["grad_norm_ptr"], options = "*fp32", options | {"HAS_GRAD_NORM": True}
        rows += [f"grad{number}_ptr" for number in range(SOURCES)]
        of_sources.append("column")
    signature |= dict.fromkeys(rows, f"*{STORAGE[dtype]}") | {f"start{number}": "i32" for number in range(1, SOURCES)}
    signature |= {f"{name}{number}": "i32" for name in of_sources for number in range(SOURCES)}
    sizes = launch_sizes(width, getattr(torch, dtype))
    num_warps = sizes.pop("num_warps")
    return Request(
        f"mde_fast.kernels.normalize_rows.triton_kernels:normalize_rows_{direction}_kernel",
        signature,
        {"D": width, "EPS": NORM_EPS, "ACC": accumulator(getattr(torch, dtype)), **sizes, **options},
        target,
        num_warps,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code(target):
    """Half of a multiprocessor's warps fit at once, rows are read 16 bytes at a time and nothing goes to memory."""
    pytest.importorskip("triton")
    rows = [*((dtype, 64, 1) for dtype in STORAGE), ("float32", 128, 1), ("float32", 64, 3)]
    kernels = [(direction, *row) for direction in ("forward", "backward") for row in rows]
    requests = [_request(direction, dtype, target, *shape) for direction, dtype, *shape in kernels]
    for request, compiled in zip(requests, compile_many(requests)):
        assert compiled.shared <= 1024, request
        if target in NVIDIA:
            assert compiled.registers <= 64 and not compiled.spills and compiled.wide_loads > 0, (request, compiled)
