"""sample_negatives and the table it draws from."""

import pytest
import torch
from aot import NVIDIA, TARGETS, Request, compile_many
from comparing import check_registered
from operands import random_ids
from scipy.stats import chisquare
from support import forced

from mde_fast.kernels import NegativeTable, sample_negatives
from mde_fast.kernels.negatives.primitives import draw_negatives

# Users 1 and 4 have no interactions, items 0, 3 and 8 were never interacted with, one interaction comes twice.
USERS = torch.tensor([0, 0, 0, 2, 2, 3, 5, 5, 5, 5, 0])
ITEMS = torch.tensor([1, 4, 7, 2, 7, 5, 1, 2, 4, 5, 4])
NUM_USERS, NUM_ITEMS = 6, 9
SEEN = [1, 2, 4, 5, 7]
ALLOWED = {0: [2, 5], 1: SEEN, 2: [1, 4, 5], 3: [1, 2, 4, 7], 4: SEEN, 5: [7]}


def _table(device="cpu"):
    return NegativeTable.build(USERS, ITEMS, NUM_USERS, NUM_ITEMS).to(device)


def _large(device):
    """2000 users with 12 items each on average, user 0 with all but one of the items seen in train."""
    users, items = random_ids(24000, 2000, 1), random_ids(24000, 800, 2) + 50
    users, items = users[users > 0], items[users > 0]
    hub = items.unique()[:-1]
    users, items = torch.cat([users, torch.zeros_like(hub)]), torch.cat([items, hub])
    return NegativeTable.build(users, items, 2000, 900).to(device), users, items


def _draw(implementation, table, users, seed=0):
    generator = torch.Generator(users.device).manual_seed(seed)
    with forced(implementation):
        return sample_negatives(table, users, generator)


@pytest.mark.parametrize("user", range(NUM_USERS))
def test_every_draw(any_implementation, device, monkeypatch, user):
    """With the random bits 0, 1, 2, ... each item that a user may get comes up equally often, in turn."""
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **options: torch.arange(size.numel(), device=device))
    users = torch.full((3 * len(ALLOWED[user]),), user, device=device)
    with forced(any_implementation):
        assert sample_negatives(_table(device), users).tolist() == 3 * ALLOWED[user]


def test_never_a_train_item(implementation, device, affordable):
    affordable(20000)
    table, train_users, train_items = _large(device)
    users = random_ids(20000, 2000, device=device)
    drawn = _draw(implementation, table, users).cpu()
    assert drawn.shape == (20000,) and drawn.dtype == torch.int64
    assert torch.isin(drawn, train_items).all(), "an item that nobody trained on"
    pairs = users.cpu() * 900 + drawn
    assert not torch.isin(pairs, train_users * 900 + train_items).any(), "an item that the user trained on"
    assert (drawn[users.cpu() == 0] == train_items.max()).all()


@pytest.mark.parametrize("user", [user for user, allowed in ALLOWED.items() if len(allowed) > 1])
def test_uniform(any_implementation, device, affordable, user):
    affordable(3000)
    drawn = _draw(any_implementation, _table(device), torch.full((3000,), user, device=device)).tolist()
    assert set(drawn) == set(ALLOWED[user])
    assert chisquare([drawn.count(item) for item in ALLOWED[user]]).pvalue > 1e-3


def test_same_state_same_items(any_implementation, device):
    users = random_ids(200, NUM_USERS, device=device)
    first, again, other = (_draw(any_implementation, _table(device), users, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_default_generator(any_implementation, device):
    users = random_ids(200, NUM_USERS, device=device)
    torch.manual_seed(5)
    with forced(any_implementation):
        drawn = sample_negatives(_table(device), users)
    assert torch.equal(drawn, _draw(any_implementation, _table(device), users, seed=5))


def test_same_items_as_the_reference(implementation, device):
    table, *_ = _large(device)
    users = random_ids(1500, 2000, device=device)
    assert torch.equal(_draw(implementation, table, users), _draw("reference", table, users))


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_index_types(any_implementation, device, index):
    users = random_ids(50, NUM_USERS, device=device)
    table = NegativeTable.build(USERS.to(index), ITEMS.to(index), NUM_USERS, NUM_ITEMS).to(device)
    expected = _draw(any_implementation, _table(device), users)
    assert torch.equal(_draw(any_implementation, table, users.to(index)), expected)


def test_no_users(any_implementation, device):
    drawn = _draw(any_implementation, _table(device), torch.empty(0, dtype=torch.int64, device=device))
    assert drawn.shape == (0,) and drawn.dtype == torch.int64


def test_writes_every_row(implementation, device, poisoned_memory):
    users = random_ids(100, NUM_USERS, device=device)
    for user, item in zip(users.tolist(), _draw(implementation, _table(device), users).tolist()):
        assert item in ALLOWED[user]


def test_strided_users(implementation, device):
    users = random_ids(40, NUM_USERS, device=device)[::2]
    assert torch.equal(_draw(implementation, _table(device), users), _draw("reference", _table(device), users))


def test_compiled(implementation, device):
    """``torch.compile`` takes it whole; the random bits are those of eager calls."""
    torch._dynamo.reset()
    table, users = _table(device), random_ids(40, NUM_USERS, device=device)
    results = []
    for draw in (sample_negatives, torch.compile(sample_negatives, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(3)
        with forced(implementation):
            results.append(draw(table, users))
    assert torch.equal(*results)


@pytest.mark.parametrize("count", (0, 40))
def test_registered(implementation, device, count):
    table, users = _table(device), random_ids(count, NUM_USERS, device=device)
    bits = torch.arange(count, device=device)
    check_registered(implementation, draw_negatives, table.candidates, table.rowptr, table.keys, users, bits)


@pytest.mark.parametrize("target", TARGETS)
def test_machine_code(target):
    """Nothing spilled, nothing shared, and registers for all the threads that a multiprocessor can hold at a time."""
    kernel = "mde_fast.kernels.negatives.triton_kernels:draw_negatives_kernel"
    tensors = ("candidates", "rowptr", "keys", "users", "bits", "out")
    signature = {f"{name}_ptr": "*i64" for name in tensors}
    signature |= {"num_candidates": "i32", "num_draws": "i32", "search_steps": "i32"}
    (compiled,) = compile_many([Request(kernel, signature, {"BLOCK": 128}, target)])
    if target in NVIDIA:
        assert not compiled.spills and compiled.shared == 0 and compiled.registers <= 48


def test_table():
    """The worked example of the docstring: places p_j among the candidates, stored as user * (C + 1) + p_j - j."""
    table = _table()
    assert table.candidates.tolist() == SEEN
    assert table.rowptr.tolist() == [0, 3, 3, 5, 6, 6, 10]
    assert table.keys.tolist() == [0, 1, 2, 13, 15, 21, 30, 30, 30, 30]
    assert (table.keys.diff() >= 0).all()


def test_order_of_interactions_does_not_matter():
    table, reordered = _table(), NegativeTable.build(USERS.flip(0), ITEMS.flip(0), NUM_USERS, NUM_ITEMS)
    for name in ("candidates", "rowptr", "keys"):
        assert torch.equal(getattr(table, name), getattr(reordered, name))


def test_a_user_with_every_item():
    users, items = torch.cat([USERS, torch.full((5,), 4)]), torch.cat([ITEMS, torch.tensor(SEEN)])
    with pytest.raises(ValueError, match="user 4 has trained on all 5 items"):
        NegativeTable.build(users, items, NUM_USERS, NUM_ITEMS)


@pytest.mark.parametrize(
    "users, items, message",
    (
        ([0, 6], [0, 1], "^users range from 0 to 6"),
        ([-1, 0], [0, 1], "^users range from -1 to 0"),
        ([0, 1], [1, 9], "^items range from 1 to 9"),
        ([0, 1], [-2, 1], "^items range from -2 to 1"),
    ),
)
def test_ids_out_of_range(users, items, message):
    with pytest.raises(ValueError, match=message):
        NegativeTable.build(torch.tensor(users), torch.tensor(items), NUM_USERS, NUM_ITEMS)


def test_no_interactions():
    with pytest.raises(ValueError, match="no training interactions"):
        NegativeTable.build(USERS[:0], ITEMS[:0], NUM_USERS, NUM_ITEMS)


def test_from_arrays_and_lists():
    for kind in (torch.Tensor.numpy, torch.Tensor.tolist):
        table = NegativeTable.build(kind(USERS), kind(ITEMS), NUM_USERS, NUM_ITEMS)
        assert torch.equal(table.keys, _table().keys) and torch.equal(table.candidates, _table().candidates)


def test_lengths_that_differ():
    with pytest.raises(ValueError, match=r"users \(2,\) and items \(3,\)"):
        NegativeTable.build([0, 1], [0, 1, 2], NUM_USERS, NUM_ITEMS)
