"""bpr: equations 5, 9 and 10."""

from functools import partial

import pytest
import torch
from support import (
    DTYPES,
    HALF_DTYPES,
    WIDTHS,
    assert_close,
    check,
    check_gradients,
    check_repeats,
    evaluate,
    forced,
    random,
    random_ids,
)

from mde_fast.kernels import bpr
from mde_fast.kernels.bpr import FUSIONS

# Which optional tensors a case has.
OPTIONAL = {
    "bare": (),
    "user logits": ("user_logits",),
    "item logits": ("item_logits",),
    "both logits": ("user_logits", "item_logits"),
    "user table": ("user_table",),
    "everything": ("user_logits", "item_logits", "user_table"),
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
        "user_table": (users, modalities, width),
    }
    names = ("h_users", "h_items", *OPTIONAL[optional])
    tensors = {
        name: random(*shapes[name], seed=seed, dtype=dtype, device=device) for seed, name in enumerate(names)
    }
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
        losses, regulariser = operator(**tensors)
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    table, triples = tensors.pop("user_table"), _triples(20)
    assert_close(losses.cpu(), _by_hand(**tensors, **triples, fusion=fusion), "losses")
    expected = sum((table[triples["users"], m] ** 2).mean() for m in range(modalities))
    assert_close(regulariser.cpu(), expected, "regulariser")


@pytest.mark.parametrize("optional", OPTIONAL)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradcheck(any_implementation, device, fusion, optional):
    case = _case(device, batch=5, users=3, items=4, modalities=2, width=3, optional=optional, fusion=fusion)
    check_gradients(any_implementation, *case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("modalities", (1, 2, 3, 4))
@pytest.mark.parametrize("optional", OPTIONAL)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_options(implementation, device, fusion, optional, modalities, dtype):
    check(implementation, *_case(device, modalities=modalities, dtype=dtype, optional=optional, fusion=fusion))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    check(implementation, *_case(device, width=width, dtype=dtype))


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
    operator, tensors = _case(device, batch=100, dtype=dtype)
    same = {name: torch.full((100,), 3, device=device) for name in ("users", "positives", "negatives")}
    check(implementation, partial(bpr, **same), tensors, floor=0.1)
    check(implementation, partial(operator, users=same["users"], negatives=same["negatives"]), tensors)


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case(device, batch=64, users=30, items=40, dtype=dtype))


def test_large_scores(implementation, device):
    """log sigmoid of -1000 is -1000, not minus infinity."""
    operator, tensors = _case(device, dtype=torch.float32, width=64)
    for name in ("h_users", "h_items"):
        tensors[name] *= 20
    check(implementation, operator, tensors)


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_index_types(implementation, device, index):
    operator, tensors = _case(device)
    check(implementation, partial(bpr, **{name: ids.to(index) for name, ids in operator.keywords.items()}), tensors)


@pytest.mark.parametrize("used", (0, 1), ids=("losses alone", "regulariser alone"))
def test_one_output_alone(implementation, device, used):
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


@pytest.mark.parametrize("fusion", FUSIONS)
def test_repeats_bit_for_bit(implementation, device, affordable, all_threads, fusion):
    affordable(3000 * 17)
    check_repeats(implementation, *_case(device, 3000, 50, 40, 3, 17, torch.float32, fusion=fusion))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("optional", OPTIONAL)
def test_writes_every_row(implementation, device, poisoned_memory, optional, fusion):
    """Most rows of the tables are in no triple: their gradient is zero."""
    case = _case(device, batch=4, users=30, items=30, width=17, optional=optional, fusion=fusion)
    check(implementation, *case)


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
        ({"user_table": random(7, 16)}, r"^user_table has shape \(7, 16\)"),
        ({"user_table": random(8, 2, 8)}, r"^user_table has shape \(8, 2, 8\)"),
        ({"fusion": "mean"}, "fusion='mean'"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"h_users": random(7, 2, 8), "h_items": random(9, 2, 8)} | _triples(20) | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        bpr(**arguments)
