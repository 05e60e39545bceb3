"""cosine_losses: directions of a batch's rows, pair by pair."""

from functools import partial

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import (
    assert_close,
    check,
    check_compiled,
    check_expanded_gradient,
    check_gradients,
    check_registered,
    check_repeats,
)
from operands import DTYPES, HALF_DTYPES, WIDTHS, random, random_ids
from support import evaluate, forced
from torch.nn import functional as F

from mde_fast.kernels import cosine_losses
from mde_fast.kernels.cosine_losses.primitives import cosine_losses_backward, cosine_losses_forward

BM3 = ((0, 1), (1, 0), (2, 1), (3, 1), (2, 2), (3, 3))  # as that model has them, with two modalities
PAIRS = {
    "one": ((0, 0),),
    "each with its own": None,
    "crossed": ((0, 2), (2, 0), (1, 1)),
    "repeated": ((1, 1), (1, 1), (0, 1), (1, 1)),  # and one vector of x in none
    "of BM3": BM3,
}
ROWS = {"as they are": (False, False), "both": (True, True), "of x": (True, False), "of target": (False, True)}


def _case(
    device, batch=7, own=4, others=4, width=8, dtype=torch.float64, gathered=(False, False), tables=(30, 20), **options
):
    """A table that is gathered from has rows of its own; the other has the batch's."""
    sizes = [table if chosen else batch for table, chosen in zip(tables, gathered)]
    tensors = {
        "x": random(sizes[0], own, width, dtype=dtype, device=device),
        "target": random(sizes[1], others, width, seed=1, dtype=dtype, device=device),
    }
    for name, size, chosen, seed in zip(("rows", "target_rows"), sizes, gathered, (3, 4)):
        if chosen:
            options[name] = random_ids(batch, size, seed, device)
    return partial(cosine_losses, **options), tensors


@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_by_hand(any_implementation, device, gathered):
    """Each pair is a mean of what PyTorch's cosine_similarity gives."""
    operator, tensors = _case(device, gathered=gathered, pairs=BM3)
    with forced(any_implementation):
        losses = operator(**tensors)
    ids = operator.keywords.get("rows"), operator.keywords.get("target_rows")
    x, target = (table if rows is None else table[rows] for table, rows in zip(tensors.values(), ids))
    for loss, (one, other) in zip(losses, BM3, strict=True):
        torch.testing.assert_close(loss, 1 - F.cosine_similarity(x[:, one], target[:, other]).mean())


@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_gradcheck(any_implementation, device, gathered):
    check_gradients(any_implementation, *_case(device, 4, 3, 2, 3, gathered=gathered, pairs=((0, 1), (2, 0), (2, 1))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
def test_options(implementation, device, pairs, gathered, dtype):
    check(implementation, *_case(device, gathered=gathered, pairs=pairs, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [width for width in WIDTHS if width > 1])
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case(device, width=width, dtype=dtype, pairs=BM3, gathered=(True, False)))


def test_width_one(implementation, device):
    """Every cosine is 1 or -1: the vectors have nowhere to move, up to rounding."""
    check(implementation, *_case(device, width=1), floor=0.1)


@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("batch", (0, 1, 4, 5, 33))
@pytest.mark.parametrize("own, others", ((1, 1), (1, 3), (3, 2)))
def test_shapes(implementation, device, batch, own, others, gathered):
    check(
        implementation, *_case(device, batch, own, others, 64, gathered=gathered, pairs=((0, 0), (own - 1, others - 1)))
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_large(implementation, device, affordable, all_threads, gathered, dtype):
    affordable(3000 * 4 * 64)
    check(implementation, *_case(device, 3000, width=64, dtype=dtype, gathered=gathered, tables=(500, 9000), pairs=BM3))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_half_precision(implementation, device, gathered, dtype):
    check(implementation, *_case(device, 40, width=64, dtype=dtype, gathered=gathered, pairs=BM3))


def test_empty_tables(any_implementation, device):
    results = evaluate(any_implementation, *_case(device, 0, gathered=(True, False), pairs=BM3))
    assert results["output 0"].tolist() == [0.0] * 6
    assert not results["gradient of x"].any() and results["gradient of target"].shape == (0, 4, 8)


def test_vectors_of_zeros(implementation, device):
    """They are 1 apart from all, and their gradient is that of a division by a constant."""
    operator, tensors = _case(device, 6, pairs=BM3)
    tensors["x"][0, 1] = tensors["x"][2] = tensors["target"][1, 1] = tensors["target"][3] = 0
    actual, expected = (evaluate(name, operator, tensors) for name in (implementation, "reference"))
    assert_close(actual["output 0"], expected["output 0"], "output")
    for name in ("gradient of x", "gradient of target"):
        for row in range(6):
            for vector in range(4):
                assert_close(actual[name][row, vector], expected[name][row, vector], f"{name}[{row}, {vector}]")
    with forced(implementation):
        alone = cosine_losses(tensors["x"][2:3], tensors["target"][:1])
    assert alone.tolist() == [1.0] * 4


def test_short_vectors(implementation, device):
    """Above and below the smallest norm that is divided by."""
    operator, tensors = _case(device, 6)
    tensors["x"] *= torch.logspace(-10, -4, 24, dtype=torch.float64, device=device).view(6, 4, 1)
    check(implementation, operator, tensors)


@pytest.mark.parametrize("learns", ("x", "target"))
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_one_gradient_alone(implementation, device, learns, gathered):
    operator, tensors = _case(device, gathered=gathered, pairs=BM3)
    alone = tensors.pop(learns)
    check(implementation, partial(operator, **tensors), {learns: alone})


def test_x_is_its_own_target(implementation, device):
    """Two modalities of one table against each other; both sides' gradients add up."""
    operator, tensors = _case(device, pairs=((0, 1), (2, 3)))
    check(implementation, lambda x: operator(x, x), {"x": tensors["x"]})


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device, gathered=(True, True), pairs=BM3)
    check(implementation, operator, {name: tensor.repeat_interleave(2, 0)[::2] for name, tensor in tensors.items()})
    check(implementation, operator, {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()})
    strided = operator.keywords["rows"].repeat_interleave(2)[::2]
    check(implementation, partial(operator, rows=strided), tensors)


def test_expanded_gradient(implementation, device):
    operator, tensors = _case(device, pairs=BM3)
    check_expanded_gradient(implementation, partial(operator, target=tensors["target"]), tensors["x"])


def test_32_bit_rows(implementation, device):
    operator, tensors = _case(device, gathered=(True, True), pairs=BM3)
    ids = {name: operator.keywords[name].int() for name in ("rows", "target_rows")}
    check(implementation, partial(operator, **ids), tensors)


@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_repeats_bit_for_bit(implementation, device, all_threads, gathered):
    """With rows that are in the batch often."""
    check_repeats(
        implementation,
        *_case(device, 90, width=17, dtype=torch.float32, gathered=gathered, tables=(5, 5), pairs=BM3),
    )


@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_writes_every_number(implementation, device, poisoned_memory, gathered, pairs):
    check(implementation, *_case(device, 9, width=17, gathered=gathered, pairs=pairs))


def test_autocast_changes_nothing(implementation, device):
    operator, tensors = _case(device, dtype=torch.float32, pairs=BM3)
    expected = evaluate(implementation, operator, tensors)
    with torch.autocast(device, torch.bfloat16):
        actual = evaluate(implementation, operator, tensors)
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


@pytest.mark.parametrize("batch", (0, 7))
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_compiled(implementation, device, gathered, batch):
    check_compiled(implementation, *_case(device, batch, gathered=gathered, pairs=BM3))


@pytest.mark.parametrize("dtype", (torch.float64, torch.float16))
@pytest.mark.parametrize("batch", (0, 7))
@pytest.mark.parametrize("gathered", ROWS.values(), ids=ROWS)
def test_registered(implementation, device, gathered, batch, dtype):
    operator, tensors = _case(device, batch, gathered=gathered, dtype=dtype)
    ids = operator.keywords.get("rows"), operator.keywords.get("target_rows")
    arguments = *tensors.values(), *ids, [0, 1, 1, 0, 3, 3]
    check_registered(implementation, cosine_losses_forward, *arguments)
    check_registered(implementation, cosine_losses_backward, random(3, dtype=dtype, device=device), *arguments)


KERNELS = ("cosine_losses_forward_kernel", "cosine_losses_backward_kernel")
AHEAD = [
    *((kernel, target, dtype, 64, True) for kernel in KERNELS for target in TARGETS for dtype in STORAGE),
    *((kernel, "sm_90", "float32", width, False) for kernel in KERNELS for width in (17, 64, 128, 512)),
]


def _request(kernel, target, dtype, width, gathered):
    from mde_fast.kernels.cosine_losses import triton_kernels

    sizes = triton_kernels.launch_sizes(width)
    num_warps = sizes.pop("num_warps")
    pairs = tuple(number for pair in BM3 for number in pair)
    constexprs = {"K": 4, "L": 4, "D": width, "PAIRS": pairs, "P": 6, "EPS": 1e-8, "ACC": triton_kernels.tl.float32}
    constexprs |= {"HAS_ROWS": gathered, "HAS_TARGET_ROWS": gathered, **sizes}
    names = [name for name in getattr(triton_kernels, kernel).arg_names if name not in constexprs]
    types = {"rows_ptr": "*i64", "target_rows_ptr": "*i64", "partial_ptr": "*fp32", "batch": "i32"}
    if gathered:
        types["grad_x_ptr"] = "*fp32"
    signature = {name: types.get(name, f"*{STORAGE[dtype]}") for name in names}
    return Request(f"{triton_kernels.__name__}:{kernel}", signature, constexprs, target, num_warps)


@pytest.mark.parametrize("case", AHEAD, ids=lambda case: "-".join(map(str, case)))
def test_machine_code(case):
    """Nothing spilled, registers for 25 programs (of one warp) on a multiprocessor, and 16 bytes a load."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request(*case)])
    assert compiled.shared <= 512
    if case[1] in NVIDIA:
        assert not compiled.spills and compiled.registers <= 80
        assert compiled.wide_loads >= 8 or case[3] % 4


@pytest.mark.parametrize(
    "change, error, message",
    (
        ({"x": random(5, 8)}, ValueError, r"^x has shape \(5, 8\), expected three dimensions"),
        ({"target": random(5, 2, 8, 1)}, ValueError, r"^target has shape \(5, 2, 8, 1\)"),
        ({"x": random(5, 2, 8).long()}, TypeError, "^x is torch.int64"),
        ({"target": random(5, 2, 8).float()}, TypeError, "^target is torch.float32, x is torch.float64"),
        ({"target": random(5, 2, 7)}, ValueError, "^x has vectors of 8 numbers and target of 7"),
        ({"target": random(5, 2, 8).to("meta")}, ValueError, "^target is on meta and x on cpu"),
        ({"target": random(5, 3, 8)}, ValueError, "^x has 2 vectors in a row and target 3"),
        ({"target": random(4, 2, 8)}, ValueError, "^5 rows of x and 4 of target"),
        ({"rows": torch.arange(4)}, ValueError, "^4 rows of x and 5 of target"),
        ({"rows": torch.zeros(5, 1).long()}, ValueError, r"^rows has shape \(5, 1\)"),
        ({"target_rows": torch.zeros(5)}, TypeError, "^target_rows has torch.float32"),
        ({"target_rows": torch.zeros(5).long().to("meta")}, ValueError, "^target_rows is on meta"),
        ({"pairs": ()}, ValueError, "^no pairs"),
        ({"pairs": ((0, 0), (0, 2))}, ValueError, r"^pair \(0, 2\): x has vectors 0 to 1 and target 0 to 1"),
        ({"pairs": ((-1, 0),)}, ValueError, r"^pair \(-1, 0\)"),
    ),
)
def test_errors(any_implementation, change, error, message):
    arguments = {"x": random(5, 2, 8), "target": random(5, 2, 8)} | change
    with forced(any_implementation), pytest.raises(error, match=message):
        cosine_losses(**arguments)
