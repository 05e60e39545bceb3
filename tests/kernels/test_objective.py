"""objective: equation 11, its parts one by one and all at once."""

from itertools import product

import pytest
import torch
from comparing import assert_close, check, check_compiled, check_gradients, check_registered, check_repeats, rms
from operands import DTYPES, HALF_DTYPES, random, random_ids
from support import evaluate, forced

from mde_fast.kernels import bpr, node_losses, objective
from mde_fast.kernels.objective.primitives import objective_backward, objective_forward

# Where the weights of MDA and MSA come from, and whether these losses move them.
TRADES = {
    "none": (None, True),
    "preference": ("preference", True),
    "preference learns": ("preference", False),
    "free": ("free", True),
}


def _triples(batch, users=7, items=9, device="cpu"):
    return {
        "users": random_ids(batch, users, seed=1, device=device),
        "positives": random_ids(batch, items, seed=2, device=device),
        "negatives": random_ids(batch, items, seed=3, device=device),
    }


def _case(
    device, batch=20, users=7, items=9, modalities=2, width=8, dtype=torch.float64, trade="preference", **options
):
    shapes = {
        "h_users": (users, modalities, width),
        "h_items": (items, modalities, width),
        "norms": (users + items, modalities),
        "user_logits": (users, modalities),
        "item_logits": (items, modalities),
    }
    kind, detach = TRADES[trade]
    if kind == "free":
        shapes |= {"user_trade": (users,), "item_trade": (items,)}
    tensors = {
        name: random(*shape, seed=seed, dtype=dtype, device=device) for seed, (name, shape) in enumerate(shapes.items())
    }
    triples = _triples(batch, users, items, device)
    weights = torch.linspace(0.5, 2, modalities + 4, device=device)

    def operator(**given):
        if kind == "preference":
            given |= {"user_trade": given["user_logits"], "item_trade": given["item_logits"]}
        coefficients = weights.to(given["h_users"].dtype)
        return objective(**given, **triples, weights=coefficients, detach=detach, **options)

    return operator, tensors


@pytest.mark.parametrize("modalities", (2, 3))
def test_is_the_sum_of_its_losses(any_implementation, device, modalities):
    operator, tensors = _case(device, modalities=modalities)
    users, positives, negatives = _triples(20, device=device).values()
    with forced(any_implementation):
        parts = operator(**tensors)
        logits = {name: tensors[name] for name in ("user_logits", "item_logits")}
        ranking = bpr(tensors["h_users"], tensors["h_items"], users, positives, negatives, **logits)
        sides = [
            node_losses(tensors[f"h_{side}s"], preference_logits=tensors[f"{side}_logits"]) for side in ("user", "item")
        ]
    squares = torch.cat([tensors["user_logits"], tensors["item_logits"]]).square().mean()
    squares = squares + sum(tensors["norms"][user].square().sum() for user in users) / (20 * 8)
    losses = torch.stack([*ranking, sides[0][0] + sides[1][0], sides[0][1] + sides[1][1], squares])
    assert_close(parts, losses * torch.linspace(0.5, 2, modalities + 4, device=device).double(), "parts")


@pytest.mark.parametrize("shrink, fuse_items", list(product((True, False), repeat=2)))
@pytest.mark.parametrize("trade", ("none", "preference learns", "free"))
def test_gradcheck(any_implementation, device, trade, shrink, fuse_items):
    case = _case(device, 3, 3, 4, width=3, trade=trade, shrink=shrink, fuse_items=fuse_items)
    check_gradients(any_implementation, *case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shrink, fuse_items, fusion", ((True, True, "sum"), (False, False, "concat")))
@pytest.mark.parametrize("trade", TRADES)
def test_options(implementation, device, trade, shrink, fuse_items, fusion, dtype):
    check(
        implementation,
        *_case(device, dtype=dtype, trade=trade, shrink=shrink, fuse_items=fuse_items, fusion=fusion),
    )


@pytest.mark.parametrize("mda, msa", list(product(("row_l2", "fro", "abs_cos", "none"), ("cosine", "none"))))
def test_forms(implementation, device, mda, msa):
    check(implementation, *_case(device, modalities=3, trade="preference learns", mda=mda, msa=msa))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", ((0, 5, 6, 8), (1, 1, 1, 1), (50, 3, 40, 17), (9, 600, 5, 4), (300, 40, 30, 64)), ids=str
)
def test_sizes(implementation, device, affordable, sizes, dtype):
    """No triple; a user in many of them; more users than fit a program; widths of all kinds."""
    batch, users, items, width = sizes
    affordable((users + items) * width)
    check(implementation, *_case(device, batch, users, items, width=width, dtype=dtype))


@pytest.mark.parametrize("users, items", ((0, 4), (4, 0), (0, 0)))
def test_empty_tables(implementation, device, users, items):
    check(implementation, *_case(device, 0, users, items))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(implementation, device, dtype):
    check(implementation, *_case(device, width=64, dtype=dtype))


@pytest.mark.parametrize("trade", ("preference learns", "free"))
def test_stored_in_half_precision(implementation, device, trade):
    """H alone is bfloat16, as of a table that is stored so; losses and coefficients are not."""
    _, tensors = _case(device, width=64, dtype=torch.float32, trade=trade)
    kind, detach = TRADES[trade]
    triples, weights = _triples(20, device=device), torch.linspace(0.5, 2, 6, device=device)

    def operator(**given):
        h = {name: given.pop(name) for name in ("h_users", "h_items")}
        if kind == "preference":
            given |= {"user_trade": given["user_logits"], "item_trade": given["item_logits"]}
        halves = {name: tensor.bfloat16() if tensor.dtype == torch.float32 else tensor for name, tensor in h.items()}
        dtype = weights.dtype if halves["h_users"].dtype == torch.bfloat16 else torch.float64
        return objective(**halves, **given, **triples, weights=weights.to(dtype), detach=detach)

    tensors["h_users"], tensors["h_items"] = (tensors[name].bfloat16().float() for name in ("h_users", "h_items"))
    actual, expected = (
        evaluate(name, operator, {key: tensor.to(dtype) for key, tensor in tensors.items()})
        for name, dtype in ((implementation, torch.float32), ("reference", torch.float64))
    )
    for name in expected:
        error = rms(actual[name].double() - expected[name])
        assert actual[name].dtype == torch.float32 and error <= 1e-2 * rms(expected[name]), (name, error)


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_index_types(implementation, device, index):
    _, tensors = _case(device)
    triples = {name: ids.to(index) for name, ids in _triples(20, device=device).items()}

    def operator(**given):
        return objective(**given, **triples, weights=torch.ones(6, dtype=given["h_users"].dtype, device=device))

    check(implementation, operator, tensors)


def test_strided_inputs(implementation, device):
    operator, tensors = _case(device)
    strided = {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()}
    actual, expected = evaluate(implementation, operator, strided), evaluate("reference", operator, tensors)
    for name in expected:
        assert_close(actual[name], expected[name], name)


def test_nothing_is_asked_of_what_needs_no_gradient(implementation, device):
    """Only H learns: as of frozen tables."""
    operator, tensors = _case(device)
    learning = {name: tensors.pop(name) for name in ("h_users", "h_items")}
    check(
        implementation,
        lambda **h: operator(**h, **{name: t.to(h["h_users"].dtype) for name, t in tensors.items()}),
        learning,
    )


@pytest.mark.parametrize("trade", TRADES)
def test_writes_every_row(implementation, device, poisoned_memory, trade):
    """Most rows are in no triple; their gradients are those of the other losses, or zero."""
    check(implementation, *_case(device, batch=4, users=30, items=30, width=17, trade=trade, fuse_items=False))


@pytest.mark.parametrize("trade", ("none", "preference learns"))
def test_repeats_bit_for_bit(implementation, device, trade):
    check_repeats(implementation, *_case(device, batch=60, width=16, dtype=torch.float32, trade=trade))


@pytest.mark.parametrize("trade", ("preference", "free"))
@pytest.mark.parametrize("batch", (0, 9))
def test_compiled(implementation, device, batch, trade):
    check_compiled(implementation, *_case(device, batch, trade=trade))


@pytest.mark.parametrize("learns", (True, False))
@pytest.mark.parametrize("trade", ("none", "preference", "free"))
def test_registered(implementation, device, trade, learns):
    operator, tensors = _case(device, 9, trade=trade)
    kind, _ = TRADES[trade]
    trades = (
        *(
            tensors.get(f"{side}_trade", tensors[f"{side}_logits"].clone() if kind else None)
            for side in ("user", "item")
        ),
    )
    arguments = (
        *(tensors[name] for name in ("h_users", "h_items", "norms")),
        *_triples(9, device=device).values(),
        torch.ones(6, dtype=torch.float64, device=device),
        *(tensors["user_logits"], tensors["item_logits"], *trades),
        *(True, True, "concat", "row_l2", "cosine"),
    )
    with forced(implementation):
        parts, slopes, statistics = objective_forward(*arguments)
    check_registered(implementation, objective_forward, *arguments)
    check_registered(implementation, objective_backward, parts, slopes, statistics, learns, learns, *arguments)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"h_users": random(7, 8)}, r"^h_users \(7, 8\)"),
        ({"h_items": random(9, 3, 8)}, r"h_items \(9, 3, 8\)"),
        ({"users": torch.zeros(19, dtype=torch.int64)}, r"^users \(19,\)"),
        ({"norms": random(6, 2)}, r"^norms have shape \(6, 2\), expected \(7 or more, 2\)"),
        ({"weights": random(5)}, r"^weights have shape \(5,\), expected \(6,\)"),
        ({"user_logits": random(9, 2)}, r"^user_logits have shape \(9, 2\)"),
        ({"item_trade": random(8)}, r"^item_trade has shape \(8,\), expected \(9, 2\) or \(9,\)"),
        ({"fusion": "mean"}, "^fusion='mean'"),
        ({"mda": "l1"}, "^mda='l1'"),
        ({"msa": "infonce"}, "^msa='infonce'"),
    ),
)
def test_errors(any_implementation, change, message):
    _, tensors = _case("cpu")
    arguments = tensors | _triples(20) | {"weights": random(6)} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        objective(**arguments)


def test_weights_that_are_no_numbers(any_implementation):
    _, tensors = _case("cpu")
    with forced(any_implementation), pytest.raises(TypeError, match="^weights are torch.int64"):
        objective(**tensors, **_triples(20), weights=torch.ones(6, dtype=torch.int64))
