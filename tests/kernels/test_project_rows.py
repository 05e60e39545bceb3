"""project_rows: content of a batch's items, projected."""

from functools import partial
from importlib import import_module

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
from operands import DTYPES, HALF_DTYPES, random, random_ids
from products import on_a_gpu_without_numbers
from support import evaluate, forced

from mde_fast.kernels import project_rows
from mde_fast.kernels.project_rows.cpu import project_rows_backward_cpu
from mde_fast.kernels.project_rows.primitives import project_rows_backward, project_rows_forward

ITEMS, LENGTH, DIM = 50, 19, 3
# items, rows of the batch, width of features and of projections: fewer rows than items, more, and every item
SHAPES = (
    (50, None, 19, 3),
    (1, None, 1, 1),
    (0, None, 7, 3),
    (7, None, 0, 3),
    (200, None, 1100, 65),
    (50, 20, 19, 3),
    (50, 300, 19, 3),
    (50, 50, 16, 16),
    (9, 1, 1, 1),
    (1, 1, 7, 5),
    (5, 0, 7, 3),
    (7, 3, 0, 3),
    (7, 3, 5, 0),
    (200, 140, 33, 17),
    (80, 70, 64, 64),
    (80, 70, 40, 65),
)


def _case(device, items=ITEMS, count=20, length=LENGTH, dim=DIM, dtype=torch.float64, **options):
    """``count`` None: every item."""
    chosen = None if count is None else random_ids(count, items, device=device)
    features, weight = (random(rows, length, seed=seed, dtype=dtype) for seed, rows in enumerate((items, dim)))
    return partial(project_rows, items=chosen, **options), {
        "features": features.to(device),
        "weight": weight.to(device),
    }


@pytest.fixture
def short_parts(monkeypatch):
    """Products are cut into parts although they are small."""
    monkeypatch.setattr(import_module("mde_fast.kernels.project_rows.triton_kernels"), "SHORTEST_PART", 16)


def test_by_hand(any_implementation, device):
    operator, tensors = _case(device)
    items = operator.keywords["items"].tolist()
    features, weight = (tensor.cpu() for tensor in tensors.values())
    results = evaluate(any_implementation, operator, tensors)
    upstream = random(20, DIM, seed=1000).bfloat16().double()
    by_features, by_weight = torch.zeros_like(features), torch.zeros_like(weight)
    for place, item in enumerate(items):
        torch.testing.assert_close(results["output 0"][place].cpu(), weight @ features[item])
        by_features[item] += upstream[place] @ weight
        by_weight += torch.outer(upstream[place], features[item])
    torch.testing.assert_close(results["gradient of features"].cpu(), by_features)
    torch.testing.assert_close(results["gradient of weight"].cpu(), by_weight)


@pytest.mark.parametrize("count", (4, 12, None))
def test_gradcheck(any_implementation, device, count):
    operator, tensors = _case(device, 8, count, 5, 3)
    check_gradients(any_implementation, operator, {**tensors, "bias": random(3, seed=2, device=device)})


@pytest.mark.parametrize("precision", ("fp32", "tf32"))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(implementation, device, shape, dtype, precision):
    if precision == "tf32" and dtype == torch.float32 and device == "cuda":
        pytest.skip("rounds inside the products")
    check(implementation, *_case(device, *shape, dtype=dtype, precision=precision))


@pytest.mark.parametrize("dtype", (*DTYPES, *HALF_DTYPES))
@pytest.mark.parametrize("count", (None, 20, 300))
def test_bias(implementation, device, count, dtype):
    if implementation == "triton" and device == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the interpreter multiplies bfloat16 matrices wrongly")
    operator, tensors = _case(device, count=count, dtype=dtype)
    check(implementation, operator, {**tensors, "bias": random(DIM, seed=2, dtype=dtype, device=device)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("items, count", ((3000, 1200), (500, 1200), (1200, None)))
def test_large(implementation, device, affordable, all_threads, items, count, dtype):
    affordable((count or items) * 512)
    check(implementation, *_case(device, items, count, 512, 64, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((200, 140, 33, 17), (90, 70, 128, 20)), ids=str)
def test_inner_dimensions_in_parts(implementation, device, short_parts, shape, dtype):
    check(implementation, *_case(device, *shape, dtype=dtype))


@pytest.mark.parametrize("count", (1, 20, 300))
@pytest.mark.parametrize("rows_per_block", (1, 4, 128))
def test_block_boundaries(monkeypatch, count, rows_per_block):
    monkeypatch.setattr(import_module("mde_fast.kernels.project_rows.cpu"), "ROWS_PER_BLOCK", rows_per_block)
    check("torch", *_case("cpu", count=count))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("count", (40, 300))
def test_half_precision(implementation, device, count, dtype):
    if implementation == "triton" and device == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the interpreter multiplies bfloat16 matrices wrongly")
    check(implementation, *_case(device, 60, count, 64, 16, dtype=dtype))


@pytest.mark.parametrize("stored", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("count", (40, 300))
def test_bf16_products(implementation, device, count, stored):
    """They round no more than their factors and their gradients, whatever features are stored in; sums stay exact."""
    if implementation == "triton" and device == "cpu":
        pytest.skip("the interpreter multiplies bfloat16 matrices wrongly")
    operator, tensors = _case(device, 60, count, 64, 16, dtype=torch.float32)
    tensors["features"] = tensors["features"].bfloat16().to(stored)
    actual = evaluate(implementation, partial(operator, precision="bf16"), tensors)
    expected = evaluate("reference", operator, {name: tensor.float() for name, tensor in tensors.items()})
    assert actual["output 0"].dtype == actual["gradient of weight"].dtype == torch.float32
    assert actual["gradient of features"].dtype == stored
    for name in expected:
        assert_close(actual[name].bfloat16(), expected[name], name)


@pytest.mark.parametrize("count", (40, 300))
def test_bf16_products_of_a_gpu_add_up_in_float32(count):
    """Those of libraries, where there is no Triton and where more rows than there are items come."""
    with on_a_gpu_without_numbers() as products:
        features = torch.empty(60, 64, dtype=torch.bfloat16, device="cuda")
        weight, grad = torch.empty(16, 64, device="cuda"), torch.empty(count, 16, device="cuda")
        items = torch.empty(count, dtype=torch.int64, device="cuda")
        project_rows_backward_cpu(grad, features, items, weight, "bf16", True)
    assert products.seen == [((16, 64), torch.float32, False), ((60, 64), torch.bfloat16, False)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("count", (40, 300))
def test_tf32_products(count):
    operator, tensors = _case("cuda", 60, count, 64, 16, dtype=torch.float32, precision="tf32")
    actual, expected = (evaluate(name, operator, tensors) for name in ("triton", "reference"))
    for name in expected:
        assert_close(actual[name].half(), expected[name], name)  # as many bits as a half has


@pytest.mark.parametrize("count", (20, 300))
@pytest.mark.parametrize("learns", ("features", "weight"))
def test_one_gradient_alone(implementation, device, learns, count):
    operator, tensors = _case(device, count=count)
    alone = tensors.pop(learns)
    check(implementation, partial(operator, **tensors), {learns: alone})


@pytest.mark.parametrize("count", (20, 300, None))
def test_strided_inputs(implementation, device, count):
    operator, tensors = _case(device, count=count)
    check(implementation, operator, {name: tensor.repeat_interleave(2, 1)[:, ::2] for name, tensor in tensors.items()})
    check(implementation, operator, {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()})
    if count is not None:
        strided = operator.keywords["items"].repeat_interleave(2)[::2]
        check(implementation, partial(operator, items=strided), tensors)


def test_expanded_gradient(implementation, device):
    operator, tensors = _case(device)
    weight = tensors.pop("weight")
    check_expanded_gradient(implementation, lambda x: operator(features=x, weight=weight), tensors["features"])


@pytest.mark.parametrize("count", (20, 300))
def test_32_bit_items(implementation, device, count):
    operator, tensors = _case(device, count=count)
    check(implementation, partial(operator, items=operator.keywords["items"].int()), tensors)


@pytest.mark.parametrize("count", (20, 300))
def test_one_item_alone(implementation, device, count):
    """Every row of the batch is the same item's, whose gradients add up."""
    operator, tensors = _case(device, count=count)
    check(implementation, partial(operator, items=torch.full_like(operator.keywords["items"], 7)), tensors)


@pytest.mark.parametrize("count", (40, 300, None))
def test_repeats_bit_for_bit(implementation, device, all_threads, short_parts, count):
    check_repeats(implementation, *_case(device, 60, count, 40, 17, dtype=torch.float32))


@pytest.mark.parametrize(
    "shape", ((50, 20, 19, 3), (50, 300, 19, 3), (5, 0, 7, 3), (7, 3, 0, 3), (50, None, 19, 3)), ids=str
)
def test_writes_every_number(implementation, device, poisoned_memory, shape):
    check(implementation, *_case(device, *shape))


def test_parts_are_written_whole(implementation, device, poisoned_memory, short_parts):
    check(implementation, *_case(device, 200, 140, 33, 17))


@pytest.mark.parametrize("length", (1, 31, 255, 384, 4096, 4480, 100_000))
@pytest.mark.parametrize("programs", (1, 7, 64, 256, 5000))
def test_parts_cover_an_inner_dimension(length, programs):
    """Each has something to do; many programs have parts of everything."""
    pytest.importorskip("triton")
    from mde_fast.kernels.project_rows.triton_kernels import parts_of

    parts, per_part = parts_of(length, programs, 32)
    assert per_part % 32 == 0 and (parts - 1) * per_part < length <= parts * per_part
    assert parts * programs <= 256 or parts == 1


@pytest.mark.parametrize("count", (None, 0, 20, 300))
def test_compiled(implementation, device, count):
    check_compiled(implementation, *_case(device, count=count))


@pytest.mark.parametrize("dtype", (torch.float64, torch.float16))
@pytest.mark.parametrize("train_features", (False, True))
@pytest.mark.parametrize("count", (None, 0, 20, 300))
def test_registered(implementation, device, count, train_features, dtype):
    operator, tensors = _case(device, count=count, dtype=dtype)
    arguments = tensors["features"], operator.keywords["items"], tensors["weight"], "fp32"
    grad = random(ITEMS if count is None else count, DIM, dtype=dtype, device=device)
    bias = random(DIM, seed=2, dtype=dtype, device=device)
    check_registered(implementation, project_rows_forward, *arguments[:3], bias, "fp32")
    check_registered(implementation, project_rows_backward, grad, *arguments, train_features)


KERNELS = ("project_rows_forward_kernel", "project_rows_weight_kernel")
PRECISIONS = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16"}
AHEAD = [
    *(
        (kernel, target, "float32", precision, 64)
        for kernel in KERNELS
        for target in TARGETS
        for precision in PRECISIONS
    ),
    *(
        (kernel, target, dtype, "fp32", 64)
        for kernel in KERNELS
        for target in TARGETS
        for dtype in ("bfloat16", "float16")
    ),
    *((kernel, "sm_90", "float32", "fp32", dim) for kernel in KERNELS for dim in (17, 128)),
    *((kernel, target, "float64", "fp32", 64) for kernel in KERNELS for target in ("sm_80", "sm_90", "sm_100")),
]


def _request(kernel, target, dtype, precision, dim):
    from mde_fast.kernels.project_rows import triton_kernels

    sizes = triton_kernels.launch_sizes(dim, getattr(torch, dtype))
    options = {name: sizes.pop(name) for name in ("num_warps", "num_stages")}
    work = torch.bfloat16 if precision == "bf16" else getattr(torch, dtype)
    constexprs = {"D": dim, "F": 4096, **sizes, **triton_kernels.arithmetic(work, precision)}
    storage = STORAGE | {"float64": "fp64"}
    types = {"items_ptr": "*i64", "count": "i32", "per_part": "i32", "features_ptr": f"*{storage[dtype]}"}
    names = [name for name in getattr(triton_kernels, kernel).arg_names if name not in constexprs]
    signature = {name: types.get(name, "*fp32") for name in names}
    return Request(f"{triton_kernels.__name__}:{kernel}", signature, constexprs, target, **options)


@pytest.mark.parametrize("case", AHEAD, ids=lambda case: "-".join(map(str, case)))
def test_machine_code(case):
    """Nothing spilled, room for two programs of four warps on a multiprocessor, and 16 bytes a load.

    But for TF32 products along the batch: Hopper and later want both factors turned on their way to shared memory.
    """
    pytest.importorskip("triton")
    kernel, target, dtype, precision, _ = case
    (compiled,) = compile_many([_request(*case)])
    assert compiled.shared <= (100 if target in NVIDIA else 64) * 1024
    if target in NVIDIA:
        assert not compiled.spills and compiled.registers <= 255
        assert compiled.wide_loads >= 4 or (kernel == "project_rows_weight_kernel" and precision == "tf32")


@pytest.mark.parametrize(
    "change, error, message",
    (
        ({"features": random(50)}, ValueError, r"^features \(50,\) and weight \(3, 19\)"),
        ({"weight": random(3, 18)}, ValueError, r"weight \(3, 18\) must be"),
        ({"items": torch.zeros(2, 2, dtype=torch.int64)}, ValueError, r"^items has shape \(2, 2\)"),
        ({"items": torch.zeros(2)}, TypeError, "^items has torch.float32"),
        ({"items": torch.zeros(2, dtype=torch.bool)}, TypeError, "^items has torch.bool"),
        ({"features": torch.zeros(50, 19, dtype=torch.int64)}, TypeError, "^features has torch.int64"),
        ({"weight": torch.zeros(3, 19, dtype=torch.int64)}, TypeError, "^weight has torch.int64"),
        ({"items": torch.zeros(2, dtype=torch.int64, device="meta")}, ValueError, "^items is on meta and features on"),
        ({"weight": random(3, 19).to("meta")}, ValueError, "^weight is on meta"),
        ({"bias": random(4)}, ValueError, r"^bias has shape \(4,\), expected \(3,\)"),
        ({"bias": random(3).float()}, TypeError, "^bias has torch.float32, expected torch.float64"),
        ({"bias": random(3).to("meta")}, ValueError, "^bias is on meta"),
        ({"precision": "fp16"}, ValueError, "^precision='fp16': choose from fp32, tf32, bf16"),
    ),
)
def test_errors(any_implementation, change, error, message):
    arguments = {"features": random(50, 19), "items": torch.arange(4), "weight": random(3, 19)} | change
    with forced(any_implementation), pytest.raises(error, match=message):
        project_rows(**arguments)
