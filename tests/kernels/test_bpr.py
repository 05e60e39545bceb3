"""bpr: equations 5, 9 and 10."""

from functools import partial

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check, check_compiled, check_gradients, check_registered, check_repeats
from operands import DTYPES, HALF_DTYPES, WIDTHS, random, random_ids
from support import IMPLEMENTATIONS, evaluate, forced

from mde_fast.kernels import bpr
from mde_fast.kernels.bpr import FUSIONS
from mde_fast.kernels.bpr.primitives import bpr_backward, bpr_forward

# Which optional tensors a case has.
OPTIONAL = {
    "bare": (),
    "user logits": ("user_logits",),
    "item logits": ("item_logits",),
    "everything": ("user_logits", "item_logits"),
}


def _triples(batch, users=7, items=9, device="cpu"):
    """``batch`` random triples; users and items come up more than once."""
    return {
        "users": random_ids(batch, users, seed=1, device=device),
        "positives": random_ids(batch, items, seed=2, device=device),
        "negatives": random_ids(batch, items, seed=3, device=device),
    }


def _case(
    device, batch=20, users=7, items=9, modalities=2, width=8, dtype=torch.float64, optional="everything", **options
):
    shapes = {
        "h_users": (users, modalities, width),
        "h_items": (items, modalities, width),
        "user_logits": (users, modalities),
        "item_logits": (items, modalities),
    }
    names = ("h_users", "h_items", *OPTIONAL[optional])
    tensors = {name: random(*shapes[name], seed=seed, dtype=dtype, device=device) for seed, name in enumerate(names)}
    return partial(bpr, **(_triples(batch, users, items, device) | options)), tensors


def _by_hand(h_users, h_items, users, positives, negatives, user_logits, item_logits, fusion):
    """Equations 5, 9 and 10, triple by triple."""

    def fuse(h, logits, row):
        parts = logits[row].softmax(0)[:, None] * h[row]
        return parts.flatten() if fusion == "concat" else parts.sum(0)

    losses = torch.zeros(h_users.shape[1] + 1, dtype=h_users.dtype)
    for u, i, j in zip(users.tolist(), positives.tolist(), negatives.tolist()):
        e_u, e_i, e_j = fuse(h_users, user_logits, u), fuse(h_items, item_logits, i), fuse(h_items, item_logits, j)
        margins = [e_u @ e_i - e_u @ e_j]
        margins += [h_users[u, m] @ h_items[i, m] - h_users[u, m] @ h_items[j, m] for m in range(h_users.shape[1])]
        losses -= torch.stack(margins).sigmoid().log() / users.numel()
    return losses


@pytest.mark.parametrize("modalities", (2, 3))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_by_hand(any_implementation, device, fusion, modalities):
    operator, tensors = _case(device, modalities=modalities, fusion=fusion)
    with forced(any_implementation):
        losses = operator(**tensors)
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    assert_close(losses.cpu(), _by_hand(**tensors, **_triples(20), fusion=fusion), "losses")


@pytest.mark.parametrize("optional", OPTIONAL)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradcheck(any_implementation, device, fusion, optional):
    case = _case(device, batch=3, users=2, items=3, modalities=2, width=2, optional=optional, fusion=fusion)
    check_gradients(any_implementation, *case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modalities", (1, 2, 3, 4))
@pytest.mark.parametrize("optional", OPTIONAL)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_options(implementation, device, fusion, optional, modalities, dtype):
    check(implementation, *_case(device, 11, modalities=modalities, dtype=dtype, optional=optional, fusion=fusion))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case(device, 11, width=width, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("batch", (0, 1, 4000))
def test_batches(implementation, device, affordable, all_threads, batch, fusion, dtype):
    affordable(batch * 64)
    check(implementation, *_case(device, batch, users=3000, items=2000, width=64, dtype=dtype, fusion=fusion))


@pytest.mark.parametrize("optional", OPTIONAL)
def test_no_triples_cost_nothing(any_implementation, device, optional):
    results = evaluate(any_implementation, *_case(device, batch=0, optional=optional))
    assert all(not result.any() for result in results.values())


def test_empty_tables(implementation, device):
    _, tensors = _case(device, users=0, items=0, batch=0)
    check(implementation, partial(bpr, **_triples(0, device=device)), tensors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_user_and_one_item_in_every_triple(implementation, device, dtype):
    """Every gradient of the batch meets in one row; positive and negative are the same item."""
    operator, tensors = _case(device, batch=70, dtype=dtype)
    same = {name: torch.full((70,), 3, device=device) for name in ("users", "positives", "negatives")}
    check(implementation, partial(bpr, **same), tensors, floor=0.1)
    check(implementation, partial(operator, users=same["users"], negatives=same["negatives"]), tensors)


@pytest.mark.parametrize("first", range(4))
def test_rows_in_many_triples(implementation, device, first):
    """Rows in 1 to 75 triples; sorted, each begins and ends at another place of a piece of four entries."""
    times = torch.tensor([first, 1, 2, 3, 4, 5, 6, 7, 8, 75, 1])
    rows = torch.arange(11).repeat_interleave(times)
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(0))
    triples = {"users": rows[order], "positives": rows[order.flip(0)], "negatives": rows[order.roll(7)]}
    operator, tensors = _case(device, users=11, items=11, width=5, dtype=torch.float32)
    check(implementation, partial(operator, **{name: ids.to(device) for name, ids in triples.items()}), tensors)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case(device, batch=22, users=10, items=14, dtype=dtype))


def test_large_scores(implementation, device):
    """log sigmoid of -1000 is -1000, not minus infinity."""
    operator, tensors = _case(device, dtype=torch.float32, width=64)
    for name in ("h_users", "h_items"):
        tensors[name] *= 20
    check(implementation, operator, tensors)


@pytest.mark.parametrize("batch", (1, 31, 33, 150))
def test_entries_are_sorted_alike(monkeypatch, batch):
    """By counting or by PyTorch: rows ascend, and of one row the earlier entries come first."""
    if "triton" not in IMPLEMENTATIONS:
        pytest.skip("there is neither a GPU nor Triton's interpreter")
    from mde_fast.kernels.bpr import triton_kernels

    device = "cuda" if torch.cuda.is_available() else "cpu"
    triples = _triples(batch, users=batch // 2 + 1, device=device).values()
    counted = triton_kernels.sorted_entries(*triples)
    monkeypatch.setattr(triton_kernels, "COUNTED", 0)
    for ours, expected in zip(counted, triton_kernels.sorted_entries(*triples)):
        assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_index_types(implementation, device, index):
    operator, tensors = _case(device)
    check(implementation, partial(bpr, **{name: ids.to(index) for name, ids in operator.keywords.items()}), tensors)


@pytest.mark.parametrize("used", (0, 1), ids=("fused loss alone", "a modality's loss alone"))
def test_one_loss_alone(implementation, device, used):
    operator, tensors = _case(device)
    check(implementation, lambda **leaves: operator(**leaves)[used], tensors)


def test_users_and_items_in_one_matrix(implementation, device):
    """As the model has them: both tables are slices of one propagated matrix."""
    operator, _ = _case(device)

    def both(h):
        return operator(h[:7], h[7:])

    check(implementation, both, {"h": random(16, 2, 8, device=device)})


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device)
    check(implementation, operator, {name: tensor.repeat_interleave(2, 0)[::2] for name, tensor in tensors.items()})
    check(implementation, operator, {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()})
    strided = {name: ids.repeat_interleave(2)[::2] for name, ids in operator.keywords.items()}
    check(implementation, partial(bpr, **strided), tensors)


def test_strided_modalities(implementation, device):
    operator, tensors = _case(device, modalities=3, optional="bare")
    strided = {name: tensor.transpose(0, 1).contiguous().transpose(0, 1) for name, tensor in tensors.items()}
    check(implementation, operator, strided)


@pytest.mark.parametrize("batch", (20, 3000))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, fusion, batch):
    affordable(batch * 17)
    check_repeats(implementation, *_case(device, batch, 50, 4, 3, 17, torch.float32, fusion=fusion))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("optional", OPTIONAL)
def test_writes_every_row(implementation, device, poisoned_memory, optional, fusion):
    """Most rows of the tables are in no triple: their gradient is zero."""
    case = _case(device, batch=4, users=30, items=30, width=17, optional=optional, fusion=fusion)
    check(implementation, *case)


@pytest.mark.parametrize("optional", ("bare", "everything"))
@pytest.mark.parametrize("batch", (0, 9))
def test_compiled(implementation, device, batch, optional):
    check_compiled(implementation, *_case(device, batch, optional=optional))


@pytest.mark.parametrize("dtype", (torch.float64, torch.float16))
@pytest.mark.parametrize("optional", ("bare", "everything"))
@pytest.mark.parametrize("batch", (0, 9))
def test_registered(implementation, device, batch, optional, dtype):
    operator, tensors = _case(device, batch, dtype=dtype, optional=optional)
    triples = (operator.keywords[name] for name in ("users", "positives", "negatives"))
    logits = (tensors.get(name) for name in ("user_logits", "item_logits"))
    arguments = tensors["h_users"], tensors["h_items"], *triples, *logits, "concat"
    with forced(implementation):
        outputs = bpr_forward(*arguments)
    check_registered(implementation, bpr_forward, *arguments)
    check_registered(implementation, bpr_backward, *outputs, *arguments)


KERNELS = ("bpr_forward", "bpr_backward, users", "bpr_backward, items", "add_up_losses", "add_up_pieces")
AHEAD = [
    *((name, "sm_90", "float32", width, "sum") for name in KERNELS[:3] for width in (64, 17)),
    *((name, target, dtype, 128, "concat") for name in KERNELS for target in TARGETS for dtype in STORAGE),
]


def _request(name, target, dtype, width, fusion):
    from mde_fast.kernels.bpr import triton_kernels

    kernel, _, side = name.partition(", ")
    sizes = {
        "add_up_losses": {"BLOCK_P": 256, "BLOCK_M": 4, "num_warps": 4},
        "add_up_pieces": {"PIECE": triton_kernels.PIECE, **triton_kernels.piece_sizes(2, width)},
        "bpr_forward": {"BLOCK_B": triton_kernels.TRIPLES, **triton_kernels.launch_sizes(2, width)},
        "bpr_backward": {"PIECE": triton_kernels.PIECE, **triton_kernels.launch_sizes(2, width)},
    }[kernel]
    num_warps = sizes.pop("num_warps")
    names = getattr(triton_kernels, f"{kernel}_kernel").arg_names
    options = {"M": 2, "D": width, "ACC": triton_kernels.tl.float32, "SUM_FUSION": fusion == "sum"}
    options |= {"ITEMS": side == "items", "ADDS": False}
    options |= {name: True for name in names if "LOGITS" in name}
    constexprs = sizes | {name: option for name, option in options.items() if name in names}
    types = {f"{name}_ptr": "*i64" for name in ("users", "positives", "negatives", "sorted", "order", "ends")}
    types |= {f"{name}_ptr": "*fp32" for name in ("slopes", "partial", "partial_rows", "partial_logits")}
    types |= {"batch": "i32", "programs": "i32"}
    signature = {name: types.get(name, f"*{STORAGE[dtype]}") for name in names if name not in constexprs}
    return Request(f"{triton_kernels.__name__}:{kernel}_kernel", signature, constexprs, target, num_warps)


@pytest.mark.parametrize("case", AHEAD, ids=lambda case: "-".join(map(str, case)))
def test_machine_code(case):
    """Nothing spilled, registers for 16 programs of one warp on a multiprocessor, and 16 bytes a load of rows."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request(*case)])
    if case[1] in NVIDIA:
        assert not compiled.spills and compiled.registers <= 128
        assert compiled.shared <= 4096
        # The partial losses of a program are M + 1 numbers, no rows.
        assert compiled.wide_loads >= 2 or case[3] % 4 or case[0] == "add_up_losses"


def test_loads_in_flight_where_pieces_are_added_up():
    pytest.importorskip("triton")
    (compiled,) = compile_many([_request("add_up_pieces", "sm_90", "float32", 128, "concat")])
    assert compiled.wide_loads_in_flight >= 8


@pytest.mark.parametrize(
    "change, message",
    (
        ({"h_users": random(7, 16)}, r"^h_users \(7, 16\)"),
        ({"h_items": random(9, 3, 8)}, r"h_items \(9, 3, 8\)"),
        ({"h_items": random(9, 2, 7)}, r"h_items \(9, 2, 7\)"),
        ({"users": torch.zeros(19, dtype=torch.int64)}, r"^users \(19,\)"),
        ({"positives": torch.zeros(20, 1, dtype=torch.int64)}, r"positives \(20, 1\)"),
        ({"negatives": torch.zeros(21, dtype=torch.int64)}, r"negatives \(21,\)"),
        ({"user_logits": random(9, 2)}, r"^user_logits have shape \(9, 2\)"),
        ({"item_logits": random(9, 3)}, r"^item_logits have shape \(9, 3\)"),
        ({"fusion": "mean"}, "fusion='mean'"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"h_users": random(7, 2, 8), "h_items": random(9, 2, 8)} | _triples(20) | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        bpr(**arguments)
