"""infonce: the contrastive form of equation 7."""

from functools import partial
from importlib import import_module
from itertools import combinations

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check, check_compiled, check_gradients, check_registered, check_repeats
from operands import DTYPES, HALF_DTYPES, WIDTHS, random, random_ids
from support import evaluate, forced

from mde_fast.kernels import infonce
from mde_fast.kernels.infonce.primitives import infonce_backward, infonce_forward


def _case(device, batch=9, modalities=2, width=8, dtype=torch.float64, distinct=None, **options):
    """``distinct``: how many different nodes the batch's rows are drawn from; all different when None."""
    nodes = torch.arange(batch, device=device)
    h = random(batch, modalities, width, dtype=dtype, device=device)
    if distinct is not None:
        nodes = random_ids(batch, distinct, device=device)
        h = random(distinct, modalities, width, dtype=dtype, device=device)[nodes]
    weight = random(batch, seed=1, dtype=dtype, device=device).sigmoid()
    return partial(infonce, nodes=nodes, **options), {"h": h, "weight": weight}


def _by_hand(h, weight, nodes, temperature):
    """The docstring's sum, row by row."""
    batch, modalities, _ = h.shape
    unit = h / h.norm(dim=2, keepdim=True)
    total = 0.0
    for v, t in combinations(range(modalities), 2):
        for n in range(batch):
            alternatives = [n, *(k for k in range(batch) if nodes[k] != nodes[n])]
            for query, key in ((v, t), (t, v)):
                logits = torch.stack([unit[n, query].dot(unit[k, key]) / temperature for k in alternatives])
                total += weight[n] * (logits.logsumexp(0) - logits[0]) / 2
    return total / batch


@pytest.mark.parametrize("distinct", (None, 4))
@pytest.mark.parametrize("modalities", (2, 3))
def test_by_hand(any_implementation, device, modalities, distinct):
    operator, tensors = _case(device, modalities=modalities, distinct=distinct, temperature=0.3)
    with forced(any_implementation):
        actual = operator(**tensors).cpu()
    expected = _by_hand(tensors["h"].cpu(), tensors["weight"].cpu(), operator.keywords["nodes"].tolist(), 0.3)
    assert_close(actual, expected, "output")


@pytest.mark.parametrize("distinct", (None, 3))
@pytest.mark.parametrize("modalities", (2, 3))
def test_gradcheck(any_implementation, device, modalities, distinct):
    check_gradients(any_implementation, *_case(device, 4, modalities, 2, distinct=distinct, temperature=0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", (0.05, 0.2, 2.0))
@pytest.mark.parametrize("modalities", (2, 3, 4))
def test_options(implementation, device, modalities, temperature, dtype):
    check(implementation, *_case(device, modalities=modalities, dtype=dtype, temperature=temperature))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [width for width in WIDTHS if width > 1])
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case(device, 40, width=width, dtype=dtype))


def test_width_one(implementation, device):
    """Every cosine is 1 or -1: the rows have nowhere to move, up to rounding."""
    check(implementation, *_case(device, width=1), floor=0.1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", (0, 1, 2, 1300))
def test_batches(implementation, device, affordable, all_threads, batch, dtype):
    affordable(batch * batch)
    # Of one row the loss is 0, the difference of two equal scores, of which rounding may be left.
    check(implementation, *_case(device, batch, width=16, dtype=dtype), floor=1.0 if batch == 1 else 1e-6)


@pytest.mark.parametrize("width", (16, 80))
@pytest.mark.parametrize("batch", (64, 65, 150))
def test_tiles(implementation, device, batch, width):
    """More rows than one tile holds, and copies of a node in several tiles."""
    check(implementation, *_case(device, batch, width=width, dtype=torch.float32, distinct=50))


@pytest.mark.parametrize("batch", (1, 7, 8, 9, 24))
def test_block_boundaries(monkeypatch, batch):
    monkeypatch.setattr(import_module("mde_fast.kernels.infonce.cpu"), "ROWS_PER_BLOCK", 8)
    check("torch", *_case("cpu", batch, modalities=3, distinct=5), floor=0.1)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    if implementation == "triton" and device == "cpu" and dtype == torch.bfloat16:
        pytest.skip("the interpreter multiplies bfloat16 matrices wrongly")
    check(implementation, *_case(device, 80, width=64, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distinct", (1, 2, 20))
def test_repeated_nodes(implementation, device, distinct, dtype):
    check(implementation, *_case(device, 60, distinct=distinct, dtype=dtype), floor=0.1)


def test_a_batch_of_one_node_costs_nothing(any_implementation, device):
    results = evaluate(any_implementation, *_case(device, 5, distinct=1))
    assert results["output 0"].abs() < 1e-14 and results["gradient of h"].abs().max() < 1e-14


def test_no_rows_cost_nothing(any_implementation, device):
    assert evaluate(any_implementation, *_case(device, 0))["output 0"] == 0


def test_zero_rows(implementation, device):
    operator, tensors = _case(device, 6)
    h = tensors["h"]
    h[0, 0] = h[1] = 0
    actual, expected = (evaluate(name, operator, tensors) for name in (implementation, "reference"))
    assert_close(actual["output 0"], expected["output 0"], "output")
    for node in range(6):
        for modality in range(2):
            one, other = (results["gradient of h"][node, modality] for results in (actual, expected))
            assert_close(one, other, f"gradient of h[{node}, {modality}]")


@pytest.mark.parametrize("learns", ("h", "weight"))
def test_one_gradient_alone(implementation, device, learns):
    operator, tensors = _case(device)
    alone = tensors.pop(learns)
    check(implementation, partial(operator, **tensors), {learns: alone})


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device)
    check(implementation, operator, {name: tensor.repeat_interleave(2, 0)[::2] for name, tensor in tensors.items()})
    check(implementation, operator, tensors | {"h": tensors["h"].mT.contiguous().mT})


def test_32_bit_nodes(implementation, device):
    operator, tensors = _case(device, distinct=4)
    check(implementation, partial(infonce, nodes=operator.keywords["nodes"].int()), tensors)


@pytest.mark.parametrize("batch", (60, 1100))
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, batch):
    affordable(batch * batch)
    check_repeats(implementation, *_case(device, batch, width=16, dtype=torch.float32, distinct=batch // 3))


@pytest.mark.parametrize("batch", (1, 33))
def test_writes_every_row(implementation, device, poisoned_memory, batch):
    check(implementation, *_case(device, batch, 3, 17), floor=0.1)


@pytest.mark.parametrize("batch, modalities", ((0, 2), (9, 2), (9, 3)))
def test_compiled(implementation, device, batch, modalities):
    check_compiled(implementation, *_case(device, batch, modalities, distinct=5))


@pytest.mark.parametrize("dtype", (torch.float64, torch.float16))
@pytest.mark.parametrize("batch, modalities", ((0, 2), (9, 2), (9, 3)))
def test_registered(implementation, device, batch, modalities, dtype):
    operator, tensors = _case(device, batch, modalities, dtype=dtype)
    arguments = tensors["h"], tensors["weight"], operator.keywords["nodes"]
    with forced(implementation):
        loss, _, logsumexp = infonce_forward(*arguments, 0.2)
    check_registered(implementation, infonce_forward, *arguments, 0.2)
    check_registered(implementation, infonce_backward, loss, *arguments, logsumexp, 0.2)


KERNELS = ("infonce_forward_kernel", "infonce_backward_kernel")
AHEAD = [
    *((kernel, "sm_90", "float32", 3, width) for kernel in KERNELS for width in (64, 128)),
    *((kernel, target, dtype, 2, 128) for kernel in KERNELS for target in TARGETS for dtype in STORAGE),
    *((kernel, "sm_90", dtype, 2, 64) for kernel in KERNELS for dtype in STORAGE),
]


def _request(kernel, target, dtype, modalities, width):
    from mde_fast.kernels.infonce import triton_kernels

    sizes = triton_kernels.launch_sizes(width)
    options = {name: sizes.pop(name) for name in ("num_warps", "num_stages")}
    constexprs = {"M": modalities, "D": width, "SCALE": 5.0, "ACC": triton_kernels.tl.float32, **sizes}
    names = [name for name in getattr(triton_kernels, kernel).arg_names if name not in constexprs]
    types = {"nodes_ptr": "*i64", "logsumexp_ptr": "*fp32", "losses_ptr": "*fp32", "batch": "i32"}
    signature = {name: types.get(name, f"*{STORAGE[dtype]}") for name in names}
    return Request(f"{triton_kernels.__name__}:{kernel}", signature, constexprs, target, **options)


@pytest.mark.parametrize("case", AHEAD, ids=lambda case: "-".join(map(str, case)))
def test_machine_code(case):
    """Nothing spilled, room for three programs of four warps on a multiprocessor, and 16 bytes a load."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request(*case)])
    assert compiled.shared <= 48 * 1024
    if case[1] in NVIDIA:
        assert not compiled.spills and compiled.registers <= 168
        assert compiled.wide_loads >= 8


@pytest.mark.parametrize(
    "change, message",
    (
        ({"h": random(5, 8)}, r"^h has shape \(5, 8\)"),
        ({"h": random(5, 1, 8)}, "M >= 2"),
        ({"weight": random(4)}, r"^weight \(4,\)"),
        ({"nodes": torch.arange(6)}, r"nodes \(6,\)"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"h": random(5, 2, 8), "weight": random(5), "nodes": torch.arange(5)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        infonce(**arguments)
