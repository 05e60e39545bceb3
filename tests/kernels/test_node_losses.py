"""node_losses: equations 6 to 8."""

from functools import partial
from itertools import combinations, product

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check, check_gradients, check_repeats
from operands import DTYPES, HALF_DTYPES, WIDTHS, random
from support import evaluate, forced

from mde_fast.kernels import node_losses
from mde_fast.kernels.node_losses import MDA_FORMS, MSA_FORMS

# name: (which logits, detach)
WEIGHTS = {
    "constant weight": (None, True),
    "preferences": ("preference_logits", False),
    "detached preferences": ("preference_logits", True),
    "free weight": ("free_logits", True),
}
FORMS = list(product(MDA_FORMS, MSA_FORMS))


def _case(device, nodes=9, modalities=2, width=8, dtype=torch.float64, weights="preferences", **options):
    logits, detach = WEIGHTS[weights]
    tensors = {"h": random(nodes, modalities, width, dtype=dtype, device=device)}
    if logits is not None:
        shape = (nodes, modalities) if logits == "preference_logits" else (nodes,)
        tensors[logits] = random(*shape, seed=1, dtype=dtype, device=device)
    return partial(node_losses, detach=detach, **options), tensors


def _by_hand(h, w_dif, mda, msa):
    """Equations 6 and 7, node by node."""
    nodes, modalities, _ = h.shape
    mda_loss = msa_loss = 0.0
    for v, t in combinations(range(modalities), 2):
        squares = 0.0
        for n in range(nodes):
            difference = (h[n, v] - h[n, t]).norm()
            cosine = h[n, v].dot(h[n, t]) / (h[n, v].norm() * h[n, t].norm())
            squares += (w_dif[n] * difference) ** 2
            mda_loss += {"row_l2": -w_dif[n] * difference, "abs_cos": w_dif[n] * cosine.abs()}.get(mda, 0) / nodes
            msa_loss += (1 - w_dif[n]) * (1 - cosine) / nodes if msa == "cosine" else 0
        mda_loss -= squares.sqrt() if mda == "fro" else 0
    return torch.as_tensor(mda_loss, dtype=h.dtype), torch.as_tensor(msa_loss, dtype=h.dtype)


@pytest.mark.parametrize("modalities", (2, 3))
@pytest.mark.parametrize("mda, msa", FORMS)
def test_by_hand(any_implementation, device, mda, msa, modalities):
    operator, tensors = _case(device, modalities=modalities, mda=mda, msa=msa)
    with forced(any_implementation):
        actual = operator(**tensors)
    alpha = torch.softmax(tensors["preference_logits"].cpu(), dim=1)
    expected = _by_hand(tensors["h"].cpu(), alpha.amax(1) - alpha.amin(1), mda, msa)
    for name, one, other in zip(("MDA", "MSA"), actual, expected):
        assert_close(one.cpu(), other, name)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mda, msa", [form for form in FORMS if form != ("none", "none")])
def test_gradcheck(any_implementation, device, mda, msa, weights):
    operator, tensors = _case(device, 2, 2, 2, weights=weights, mda=mda, msa=msa)
    if weights == "detached preferences":
        # Detached logits have no gradient to check: they only enter as numbers.
        operator = partial(operator, preference_logits=tensors.pop("preference_logits"))
    check_gradients(any_implementation, operator, tensors)


@pytest.mark.parametrize("mda", MDA_FORMS)
def test_gradcheck_of_three_modalities(any_implementation, device, mda):
    check_gradients(any_implementation, *_case(device, 2, 3, 2, mda=mda))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mda, msa", FORMS)
def test_options(implementation, device, mda, msa, weights, dtype):
    check(implementation, *_case(device, 9, 2, 17, dtype, weights, mda=mda, msa=msa))


@pytest.mark.parametrize("modalities", (3, 4))
@pytest.mark.parametrize("mda, msa", FORMS)
def test_more_modalities(implementation, device, mda, msa, modalities):
    check(implementation, *_case(device, 9, modalities, 17, mda=mda, msa=msa))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case(device, width=width, dtype=dtype))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mda", MDA_FORMS)
def test_half_precision(implementation, device, mda, weights, dtype):
    check(implementation, *_case(device, 30, 2, 64, dtype, weights, mda=mda))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mda", MDA_FORMS)
@pytest.mark.parametrize("nodes", (0, 1, 70, 5000))
def test_numbers_of_nodes(implementation, device, affordable, all_threads, nodes, mda, dtype):
    affordable(nodes * 3 * 17)
    check(implementation, *_case(device, nodes, 3, 17, dtype, mda=mda))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_nodes_cost_nothing(any_implementation, device, weights):
    results = evaluate(any_implementation, *_case(device, nodes=0, weights=weights))
    assert results["output 0"] == 0 and results["output 1"] == 0


@pytest.mark.parametrize("used", (0, 1), ids=("MDA alone", "MSA alone"))
@pytest.mark.parametrize("mda", ("row_l2", "fro", "abs_cos"))
def test_one_loss_alone(implementation, device, mda, used):
    operator, tensors = _case(device, modalities=3, mda=mda)
    check(implementation, lambda **leaves: operator(**leaves)[used], tensors)


def test_detached_preferences_do_not_learn(any_implementation, device):
    results = evaluate(any_implementation, *_case(device, weights="detached preferences"))
    assert not results["gradient of preference_logits"].any() and results["gradient of h"].any()


@pytest.mark.parametrize("modalities", (2, 3))
@pytest.mark.parametrize("mda", MDA_FORMS)
def test_equal_preferences(implementation, device, mda, modalities):
    """The start of training: no difference weight, and no direction to move it in."""
    operator, tensors = _case(device, modalities=modalities, mda=mda)
    check(implementation, operator, tensors | {"preference_logits": torch.zeros_like(tensors["preference_logits"])})


def test_modalities_that_share_an_extreme_preference(implementation, device):
    operator, tensors = _case(device, modalities=4)
    logits = tensors["preference_logits"]
    logits[:3, 1] = logits[:3].amax(1)
    logits[2:6, 3] = logits[2:6, 0] = logits[2:6].amin(1)
    check(implementation, operator, tensors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modalities", (2, 3))
@pytest.mark.parametrize("mda, msa", FORMS)
def test_zero_and_coinciding_rows(implementation, device, mda, msa, modalities, dtype):
    operator, tensors = _case(device, 6, modalities, 5, dtype, mda=mda, msa=msa)
    h = tensors["h"]
    h[0, 0] = 0
    h[1] = 0
    h[2] = h[2, :1]
    h[3, 1] = -h[3, 0]
    actual = evaluate(implementation, operator, tensors)
    expected = evaluate("reference", operator, {name: tensor.double() for name, tensor in tensors.items()})
    for name in ("output 0", "output 1", "gradient of preference_logits"):
        assert_close(actual[name], expected[name], name, floor=0.1)
    # A cosine's slope at a zero row is of the order of 1 / eps, which would hide every other row.
    for node in range(h.shape[0]):
        for modality in range(modalities):
            one, other = (results["gradient of h"][node, modality] for results in (actual, expected))
            assert_close(one, other, f"gradient of h[{node}, {modality}]", floor=0.1)


@pytest.mark.parametrize("mda, msa", (("abs_cos", "none"), ("none", "cosine")))
def test_rows_below_the_smallest_norm(implementation, device, mda, msa):
    """There a cosine divides by a constant. PyTorch's own derivative departs from its function here: no reference."""
    operator, tensors = _case(device, 2, 2, 5, mda=mda, msa=msa)
    tiny, other = 1e-9 * tensors["h"][:, :1], tensors["h"][:, 1:]

    def loss(tiny):
        return sum(operator(torch.cat([tiny, other], dim=1), preference_logits=tensors["preference_logits"]))

    with forced(implementation):
        assert torch.autograd.gradcheck(loss, tiny.requires_grad_(), eps=1e-12, atol=1.0, rtol=1e-5)


@pytest.mark.parametrize("mda", MDA_FORMS)
def test_all_rows_coincide(implementation, device, mda):
    operator, tensors = _case(device, modalities=3, mda=mda)
    h = tensors["h"][:, :1].expand(-1, 3, -1)
    check(implementation, operator, tensors | {"h": h.contiguous()}, floor=0.1)
    check(implementation, operator, tensors | {"h": torch.zeros_like(h)}, floor=0.1)


def test_distance_of_close_rows_does_not_cancel(implementation, device):
    """In float32, ||v||^2 + ||t||^2 - 2 <v, t> would have no correct digit here."""
    operator, tensors = _case(device, dtype=torch.float32, msa="none")
    h = tensors["h"]
    h[:, 1] = h[:, 0] + 1e-4 * random(9, 8, seed=2, dtype=torch.float32, device=device)
    actual = evaluate(implementation, operator, tensors)
    expected = evaluate("reference", operator, {name: tensor.double() for name, tensor in tensors.items()})
    for name in ("output 0", "gradient of h"):
        assert_close(actual[name], expected[name], name)


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device, modalities=3)
    strided = {name: tensor.repeat_interleave(2, dim=0)[::2] for name, tensor in tensors.items()}
    check(implementation, operator, strided)
    check(implementation, operator, {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()})


def test_strided_modalities(implementation, device):
    """Modalities side by side in (M, N, D), as graphs per modality leave them."""
    operator, tensors = _case(device, modalities=3)
    check(implementation, operator, tensors | {"h": tensors["h"].transpose(0, 1).contiguous().transpose(0, 1)})


@pytest.mark.parametrize("mda", MDA_FORMS)
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, mda):
    affordable(3000 * 3 * 17)
    check_repeats(implementation, *_case(device, 3000, 3, 17, torch.float32, mda=mda))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mda, msa", FORMS)
def test_writes_every_row(implementation, device, poisoned_memory, mda, msa, weights):
    check(implementation, *_case(device, 33, 3, 17, weights=weights, mda=mda, msa=msa))


@pytest.mark.parametrize(
    "change, message",
    (
        ({"h": random(5, 8)}, r"^h has shape \(5, 8\)"),
        ({"h": random(5, 1, 8)}, "M >= 2"),
        ({"mda": "cosine"}, "mda='cosine'"),
        ({"msa": "row_l2"}, "msa='row_l2'"),
        ({"preference_logits": random(4, 2)}, r"^preference_logits have shape \(4, 2\)"),
        ({"preference_logits": random(5, 3)}, r"^preference_logits have shape \(5, 3\)"),
        ({"preference_logits": random(5)}, "^preference_logits have shape"),
        ({"free_logits": random(4)}, r"^free_logits have shape \(4,\)"),
        ({"free_logits": random(5, 1)}, "^free_logits have shape"),
        ({"preference_logits": random(5, 2), "free_logits": random(5)}, "preference_logits or free_logits, not both"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"h": random(5, 2, 8)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        node_losses(**arguments)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mda, msa", (("row_l2", "cosine"), ("fro", "none")))
def test_registered_operators(implementation, device, mda, msa, weights):
    _, tensors = _case(device, modalities=3, weights=weights)
    logits = tensors.get("preference_logits"), tensors.get("free_logits")
    operators = torch.ops.mde_fast
    with forced(implementation):
        arguments = tensors["h"], *logits, mda, msa
        torch.library.opcheck(operators.node_losses_forward.default, arguments)
        *losses, w_dif, norms, cosines, distances, pair_norms = operators.node_losses_forward(*arguments)
        statistics = w_dif, norms, cosines, distances, pair_norms
        arguments = *losses, tensors["h"], *logits, *statistics, mda, msa
        torch.library.opcheck(operators.node_losses_backward.default, arguments)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_compiled_as_one_graph(implementation, device, weights):
    operator, tensors = _case(device, weights=weights)
    torch.compiler.reset()
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    actual, expected = (evaluate(implementation, function, tensors) for function in (compiled, operator))
    for name in expected:
        assert torch.equal(actual[name], expected[name]), name


def _request(direction, dtype, target, width=64, weight="preference", mda="row_l2", msa="cosine") -> Request:
    from mde_fast.kernels.node_losses.forms import COSINE_EPS, needs_cosines, needs_distances
    from mde_fast.kernels.node_losses.triton_kernels import accumulator, launch_sizes

    stored = ("h_ptr",) if direction == "forward" else ("h_ptr", "grad_h_ptr", "grad_mda_ptr", "grad_msa_ptr")
    exact = ("logits_ptr", "w_dif_ptr", "norms_ptr", "cosines_ptr", "distances_ptr")
    exact += ("partial_ptr",) if direction == "forward" else ("grad_logits_ptr", "pair_norms_ptr")
    sizes = launch_sizes(2, width, getattr(torch, dtype))
    num_warps = sizes.pop("num_warps")
    forms = {"MDA": mda, "MSA": msa, "COSINES": needs_cosines(mda, msa), "DISTANCES": needs_distances(mda)}
    shape = {"M": 2, "P": 1, "D": width, "WEIGHT": weight, "EPS": COSINE_EPS, "ACC": accumulator(getattr(torch, dtype))}
    return Request(
        f"mde_fast.kernels.node_losses.triton_kernels:node_losses_{direction}_kernel",
        dict.fromkeys(stored, f"*{STORAGE[dtype]}") | dict.fromkeys(exact, "*fp32") | {"num_nodes": "i32"},
        shape | forms | sizes,
        target,
        num_warps,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code(target):
    """Half of a multiprocessor's warps fit at once, rows are read 16 bytes at a time and nothing goes to memory."""
    pytest.importorskip("triton")
    cases = [*({"dtype": dtype} for dtype in STORAGE), {"dtype": "float32", "width": 128}]
    cases.append({"dtype": "float32", "mda": "fro", "weight": "free"})
    cases.append({"dtype": "float32", "mda": "abs_cos", "weight": "constant"})
    requests = [_request(direction, target=target, **case) for direction in ("forward", "backward") for case in cases]
    for request, compiled in zip(requests, compile_many(requests)):
        assert compiled.shared <= 1024, (request, compiled)
        if target in NVIDIA:
            assert compiled.registers <= 64 and not compiled.spills and compiled.wide_loads >= 2, (request, compiled)


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code_of_the_sum_of_partials(target):
    triton_language = pytest.importorskip("triton").language
    pointers = dict.fromkeys(("partial_ptr", "mda_ptr", "msa_ptr", "pair_norms_ptr"), "*fp32")
    constexprs = {"P": 1, "MDA": "fro", "MSA": "cosine", "BLOCK_P": 4096, "ACC": triton_language.float32}
    (compiled,) = compile_many(
        [
            Request(
                "mde_fast.kernels.node_losses.triton_kernels:add_partials_kernel",
                pointers | {"programs": "i32", "num_nodes": "i32"},
                constexprs,
                target,
                num_warps=8,
            )
        ]
    )
    assert compiled.shared <= 1024 and not compiled.spills
