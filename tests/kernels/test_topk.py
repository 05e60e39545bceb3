"""topk: score, mask, select."""

from importlib import import_module

import pytest
import torch
from aot import NVIDIA, STORAGE, TARGETS, Request, compile_many
from comparing import assert_close, check_registered
from operands import DTYPES, HALF_DTYPES, WIDTHS, csr, random, random_ids
from support import forced

from mde_fast.kernels import topk
from mde_fast.kernels.topk.cpu import ITEMS_PER_GROUP
from mde_fast.kernels.topk.primitives import mask_seen, select


def _integers(*shape, seed, device, limit=3, dtype=torch.float32):
    """Small whole numbers: every implementation scores them exactly, and most scores are tied."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-limit, limit + 1, shape, generator=generator).to(device, dtype)


def _seen(num_users, num_items, device, count=None, index=torch.int32):
    """Random interactions; user 0 has seen everything, user 1 nothing, user 2 all but item 4."""
    count = 3 * num_users if count is None else count
    pairs = set(zip(random_ids(count, num_users, 1).tolist(), random_ids(count, num_items, 2).tolist()))
    pairs = {(user, item) for user, item in pairs if user > 2}
    pairs |= {(0, item) for item in range(num_items)} | {(2, item) for item in range(num_items) if item != 4}
    users, items = zip(*sorted(pairs))
    return csr(users, items, (num_users, num_items), index=index).to(device)


def _by_hand(user_vectors, item_vectors, k, users, seen):
    """Rank with Python's sort, for scores that are exact."""
    scores = (user_vectors.double() @ item_vectors.double().T).tolist()
    k = min(k, item_vectors.shape[0])
    best_scores, best_items = [], []
    for user in users.tolist():
        hidden = set() if seen is None else set(seen.columns[seen.rowptr[user] : seen.rowptr[user + 1]].tolist())
        ranked = sorted((-score, item) for item, score in enumerate(scores[user]) if item not in hidden)[:k]
        missing = k - len(ranked)
        best_scores.append([-score for score, _ in ranked] + [float("-inf")] * missing)
        best_items.append([item for _, item in ranked] + [-1] * missing)
    return torch.tensor(best_scores).reshape(-1, k), torch.tensor(best_items, dtype=torch.int64).reshape(-1, k)


def _check_exactly(implementation, user_vectors, item_vectors, k, users=None, seen=None):
    with forced(implementation):
        scores, items = topk(user_vectors, item_vectors, k, users=users, seen=seen)
    rows = torch.arange(user_vectors.shape[0]) if users is None else users
    expected = _by_hand(user_vectors.cpu(), item_vectors.cpu(), k, rows.cpu(), None if seen is None else seen.to("cpu"))
    assert scores.dtype == user_vectors.dtype and items.dtype == torch.int64
    assert torch.equal(scores.cpu(), expected[0].to(scores.dtype))
    assert torch.equal(items.cpu(), expected[1])


@pytest.mark.parametrize("with_seen", (False, True), ids=("nothing seen", "seen"))
@pytest.mark.parametrize("k", (1, 2, 5, 29, 30, 31, 100))
def test_ties_and_masks(any_implementation, device, k, with_seen):
    user_vectors, item_vectors = _integers(20, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    _check_exactly(any_implementation, user_vectors, item_vectors, k, seen=_seen(20, 30, device) if with_seen else None)


@pytest.mark.parametrize("limit", (1, 1000), ids=("tied", "mostly distinct"))
@pytest.mark.parametrize("k", (1, 20, 70))
def test_long_rows(any_implementation, device, k, limit):
    """More items than are compared one by one, or looked through at a time, and more than 64 places."""
    num_items = 1024 + 10 * ITEMS_PER_GROUP + 3
    vectors = _integers(4, 2, seed=1, device=device, limit=limit), _integers(num_items, 2, seed=2, device=device)
    _check_exactly(any_implementation, *vectors, k, seen=_seen(4, num_items, device, 60))


@pytest.mark.parametrize("dtype", HALF_DTYPES)
def test_half_precision(any_implementation, device, dtype):
    vectors = (_integers(size, 4, seed=size, device=device, dtype=dtype) for size in (9, 30))
    _check_exactly(any_implementation, *vectors, 6, seen=_seen(9, 30, device))


@pytest.mark.parametrize("k", (1, 3, 12))
def test_every_score_tied(any_implementation, device, k):
    """Ascending item, whatever the order that a partial selection leaves."""
    _check_exactly(any_implementation, torch.ones(5, 3, device=device), torch.ones(12, 3, device=device), k)
    zeros = torch.zeros(5, 3, device=device), torch.zeros(12, 3, device=device)
    _check_exactly(any_implementation, *zeros, k, seen=_seen(5, 12, device))


def test_tie_across_the_last_place(any_implementation, device):
    scores = torch.tensor([[1.0], [3.0], [2.0], [2.0], [2.0], [0.0]], device=device)
    with forced(any_implementation):
        _, items = topk(torch.ones(1, 1, device=device), scores, 2)
    assert items.tolist() == [[1, 2]]


def test_everything_seen(any_implementation, device):
    with forced(any_implementation):
        scores, items = topk(random(5, 4, device=device), random(8, 4, device=device), 3, seen=_seen(5, 8, device))
    assert items[0].tolist() == [-1, -1, -1] and (scores[0] == float("-inf")).all()
    assert items[2].tolist() == [4, -1, -1] and torch.isfinite(scores[2, 0])
    assert (items[1] >= 0).all()


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_some_users_some_twice(any_implementation, device, index):
    user_vectors, item_vectors = _integers(20, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    users = torch.tensor([7, 0, 19, 7, 2, 1, 0], dtype=index, device=device)
    _check_exactly(any_implementation, user_vectors, item_vectors, 6, users, _seen(20, 30, device))
    _check_exactly(any_implementation, user_vectors, item_vectors, 6, users)


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_index_types_of_seen(any_implementation, device, index):
    user_vectors, item_vectors = _integers(9, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    _check_exactly(any_implementation, user_vectors, item_vectors, 6, seen=_seen(9, 30, device, index=index))


@pytest.mark.parametrize("num_users", (3, 7, 8, 9, 16, 21))
def test_block_boundaries(implementation, device, monkeypatch, num_users):
    monkeypatch.setattr(import_module("mde_fast.kernels.topk"), "_users_per_block", lambda num_items, device: 8)
    vectors = _integers(num_users, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    _check_exactly(implementation, *vectors, 6, seen=_seen(num_users, 30, device))
    users = random_ids(2 * num_users, num_users, device=device)
    _check_exactly(implementation, *vectors, 6, users, _seen(num_users, 30, device))


@pytest.mark.parametrize("num_users, num_items", ((0, 8), (5, 0), (0, 0)))
def test_nothing_to_rank(any_implementation, device, num_users, num_items):
    empty = csr([], [], (num_users, num_items)).to(device)
    for seen in (None, empty):
        with forced(any_implementation):
            scores, items = topk(random(num_users, 4, device=device), random(num_items, 4, device=device), 3, seen=seen)
        assert scores.shape == items.shape == (num_users, min(3, num_items))


def test_no_users_asked_for(any_implementation, device):
    users = torch.empty(0, dtype=torch.int64, device=device)
    vectors = random(5, 4, device=device), random(8, 4, device=device)
    with forced(any_implementation):
        scores, items = topk(*vectors, 3, users=users, seen=_seen(5, 8, device))
    assert scores.shape == items.shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_widths(implementation, device, width, dtype):
    vectors = random(6, width, dtype=dtype, device=device), random(40, width, seed=1, dtype=dtype, device=device)
    _check_closely(implementation, *vectors, 10, _seen(6, 40, device))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", (1, 20, 50))
def test_large(implementation, device, affordable, all_threads, k, dtype):
    affordable(700 * 3000)
    vectors = random(700, 64, dtype=dtype, device=device), random(3000, 64, seed=1, dtype=dtype, device=device)
    _check_closely(implementation, *vectors, k, _seen(700, 3000, device, 20000))


def _check_closely(implementation, user_vectors, item_vectors, k, seen):
    """Scores as the reference's; each item has the score it is listed with, so only near-ties may change places."""
    results = {}
    for name in (implementation, "reference"):
        with forced(name):
            results[name] = topk(user_vectors, item_vectors, k, seen=seen)
    (scores, items), (expected, _) = results[implementation], results["reference"]
    listed = expected > float("-inf")
    assert torch.equal(items >= 0, listed) and torch.equal(scores > float("-inf"), listed)
    assert_close(scores[listed], expected[listed], "scores")
    users = torch.arange(user_vectors.shape[0], device=items.device)[:, None].expand_as(items)
    assert_close((user_vectors[users] * item_vectors[items]).sum(2)[listed], scores[listed], "scores of the items")
    for user, row in enumerate(items.tolist()):
        hidden = seen.columns[seen.rowptr[user] : seen.rowptr[user + 1]].tolist()
        row = [item for item in row if item >= 0]
        assert len(set(row)) == len(row) and not set(row) & set(hidden)


def test_infinite_and_huge_scores(any_implementation, device):
    item_vectors = torch.tensor([[1e30], [-1e30], [0.0], [3.0]], device=device)
    _check_exactly(any_implementation, torch.ones(1, 1, device=device), item_vectors, 4)


def test_strided_inputs(any_implementation, device):
    user_vectors, item_vectors = _integers(4, 9, seed=1, device=device).T, _integers(60, 4, seed=2, device=device)[::2]
    users = torch.arange(18, device=device)[::2] % 9
    _check_exactly(any_implementation, user_vectors, item_vectors, 6, users, _seen(9, 30, device))


def test_inputs_stay_as_they_were(any_implementation, device):
    vectors, seen = (random(6, 4, device=device), random(9, 4, device=device)), _seen(6, 9, device)
    before = [tensor.clone() for tensor in (*vectors, seen.columns, seen.rowptr)]
    with forced(any_implementation):
        topk(*vectors, 3, seen=seen)
    assert all(torch.equal(one, other) for one, other in zip(before, (*vectors, seen.columns, seen.rowptr)))


def test_repeats_bit_for_bit(implementation, device, affordable, all_threads):
    affordable(600 * 500)
    vectors = _integers(600, 8, seed=1, device=device), _integers(500, 8, seed=2, device=device)
    with forced(implementation):
        first, second = (topk(*vectors, 20, seen=_seen(600, 500, device)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_writes_every_row(implementation, device, poisoned_memory):
    vectors = _integers(33, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    _check_exactly(implementation, *vectors, 7, seen=_seen(33, 30, device))


def test_needs_no_gradient(any_implementation, device):
    user_vectors = random(5, 4, device=device).requires_grad_()
    with forced(any_implementation):
        assert not topk(user_vectors, random(8, 4, device=device), 3)[0].requires_grad


@pytest.mark.parametrize("value", (float("nan"), float("inf")))
@pytest.mark.parametrize("which, row", (("item_vectors", 4), ("user_vectors", 2)))
def test_a_number_that_is_not_finite(any_implementation, device, value, which, row):
    """It would rank first and pass for the best."""
    vectors = {"user_vectors": random(6, 4, device=device).abs(), "item_vectors": random(9, 4, device=device).abs()}
    vectors[which][row:, 1] = value
    with forced(any_implementation), pytest.raises(ValueError, match=f"^{which}: row {row} has a number that is not"):
        topk(**vectors, k=3)


def test_minus_infinity_says_never(any_implementation, device):
    user_vectors, item_vectors = torch.ones(3, 1, device=device), torch.arange(6.0, device=device)[:, None]
    item_vectors[4] = -float("inf")
    with forced(any_implementation):
        scores, items = topk(user_vectors, item_vectors, 6)
    assert items.tolist() == [[5, 3, 2, 1, 0, -1]] * 3


def test_a_score_beyond_the_type(any_implementation, device):
    user_vectors, item_vectors = torch.ones(3, 2, device=device), torch.full((5, 2), 2e38, device=device)
    user_vectors[:2] = 0.1
    with forced(any_implementation):
        topk(user_vectors[:2], item_vectors, 2)
        with pytest.raises(ValueError, match=r"^user_vectors: row 2 has a score beyond the range of torch.float32"):
            topk(user_vectors, item_vectors, 2)


def test_compiled(implementation, device):
    torch._dynamo.reset()
    vectors = _integers(20, 4, seed=1, device=device), _integers(30, 4, seed=2, device=device)
    seen = _seen(20, 30, device)
    with forced(implementation):
        eager = topk(*vectors, 6, seen=seen)
        compiled = torch.compile(topk, fullgraph=True, backend="aot_eager")(*vectors, 6, seen=seen)
    assert all(torch.equal(one, other) for one, other in zip(eager, compiled))


@pytest.mark.parametrize("index", (torch.int32, torch.int64))
def test_registered(implementation, device, index):
    scores, seen = _integers(9, 30, seed=1, device=device), _seen(9, 30, device, index=index)
    users = torch.tensor([3, 0, 8, 3, 1, 2, 5, 6, 7], device=device)
    check_registered(implementation, mask_seen, scores, users, seen.rowptr, seen.columns)
    for k in (1, 6, 30):
        check_registered(implementation, select, scores, k)


def _machine_code_requests():
    import triton.language as tl

    from mde_fast.kernels.topk.triton_kernels import launch_sizes

    module = "mde_fast.kernels.topk.triton_kernels"
    for target in TARGETS:
        for dtype, storage in STORAGE.items():
            signature = {"scores_ptr": f"*{storage}", "users_ptr": "*i64", "rowptr_ptr": "*i32", "columns_ptr": "*i32"}
            yield (
                ("mask_seen", target, dtype),
                Request(f"{module}:mask_seen_kernel", signature | {"num_items": "i32"}, {"BLOCK_E": 128}, target, 1),
            )
            signature = {f"{name}_ptr": f"*{storage}" for name in ("scores", "values", "out_values")}
            signature |= {"candidates_ptr": "*i64", "out_items_ptr": "*i64", "num_items": "i32"}
            for k in (20, 50):
                sizes = launch_sizes(k)
                num_warps = sizes.pop("num_warps")
                constexprs = {"K": k, "WANTED": k + 1, "ACC": tl.float32, **sizes}
                yield (
                    (f"settle_ties, {k}", target, dtype),
                    Request(f"{module}:settle_ties_kernel", signature, constexprs, target, num_warps),
                )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("kernel", ("mask_seen", "settle_ties, 20", "settle_ties, 50"))
def test_machine_code(kernel, dtype, target):
    """Nothing spilled, and a multiprocessor full of programs before registers or shared memory run out."""
    pytest.importorskip("triton")
    (compiled,) = compile_many([dict(_machine_code_requests())[kernel, target, dtype]])
    if target in NVIDIA:
        assert not compiled.spills and compiled.shared <= 8192
        assert compiled.registers <= (32 if kernel == "mask_seen" else 112)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"k": 0}, "^k=0"),
        ({"k": -3}, "^k=-3"),
        ({"user_vectors": random(4)}, r"^user_vectors \(4,\)"),
        ({"item_vectors": random(8, 5)}, r"item_vectors \(8, 5\)"),
        ({"seen": csr([], [], (8, 5))}, r"^seen has shape \(8, 5\)"),
        ({"users": torch.zeros(2, 2, dtype=torch.int64)}, r"^users has shape \(2, 2\)"),
        ({"users": torch.tensor([0, -1])}, "^users range from -1 to 0, expected 0 to 4"),
        ({"users": torch.tensor([0, 5])}, "^users range from 0 to 5, expected 0 to 4"),
    ),
)
def test_errors(any_implementation, change, message):
    arguments = {"user_vectors": random(5, 4), "item_vectors": random(8, 4), "k": 3} | change
    with forced(any_implementation), pytest.raises(ValueError, match=message):
        topk(**arguments)


@pytest.mark.parametrize(
    "change, message",
    (
        ({"users": torch.ones(5, dtype=torch.bool)}, "^users is a boolean mask"),
        ({"users": torch.ones(5)}, "^users are torch.float32"),
        ({"user_vectors": torch.ones(5, 4, dtype=torch.int64)}, "^user_vectors are torch.int64"),
        ({"item_vectors": torch.ones(8, 4, dtype=torch.float16)}, "item_vectors torch.float16, expected one"),
    ),
)
def test_types_that_cannot_be_ranked(any_implementation, change, message):
    arguments = {"user_vectors": random(5, 4), "item_vectors": random(8, 4), "k": 3} | change
    with forced(any_implementation), pytest.raises(TypeError, match=message):
        topk(**arguments)
