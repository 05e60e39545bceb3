"""Ranking metrics against the protocol, written out user by user and rank by rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import torch
from tiny import tiny_dataset

from mde_fast.errors import InputError
from mde_fast.ranking.evaluator import METRICS, Evaluator, average_metrics, format_metrics, ranked_metrics

CUTOFFS = (1, 2, 5, 20)


def _by_hand(ranked: list[int], relevant: set[int], cutoff: int) -> dict[str, float]:
    """The metrics of one user; ``ranked`` best first."""
    hits, precisions, gain = 0, 0.0, 0.0
    for rank, item in enumerate(ranked[:cutoff], start=1):
        if item in relevant:
            hits += 1
            precisions += hits / rank
            gain += 1 / math.log2(rank + 1)
    attainable = min(len(relevant), cutoff)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, attainable + 1))
    return {
        "recall": hits / len(relevant),
        "precision": hits / cutoff,
        "map": precisions / attainable,
        "ndcg": gain / ideal,
    }


def _protocol(dataset, users: np.ndarray, items: np.ndarray, part: str, cutoffs) -> dict[str, float]:
    """The protocol's averages, from every score of every user."""
    held_out, seen = {}, {}
    for where, split in ((held_out, getattr(dataset, part)), (seen, dataset.train)):
        for user, item in zip(split.users.tolist(), split.items.tolist()):
            where.setdefault(user, set()).add(item)
    totals = {f"{metric}@{cutoff}": 0.0 for metric in METRICS for cutoff in cutoffs}
    for user, relevant in held_out.items():
        scores = [(-float(users[user] @ items[item]), item) for item in range(dataset.num_items)]
        ranked = [item for _, item in sorted(scores) if item not in seen.get(user, ())]
        for cutoff in cutoffs:
            for metric, value in _by_hand(ranked, relevant, cutoff).items():
                totals[f"{metric}@{cutoff}"] += value
    return {name: total / len(held_out) for name, total in totals.items()}


def _vectors(rng, dataset, width: int = 4, *, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers have exact scores, and many that are equal."""
    draw = (lambda *shape: rng.integers(-1, 2, size=shape)) if tied else (lambda *shape: rng.standard_normal(shape))
    return draw(dataset.num_users, width).astype(np.float32), draw(dataset.num_items, width).astype(np.float32)


def _evaluate(dataset, users, items, part, cutoffs=CUTOFFS) -> dict[str, float]:
    return Evaluator(dataset, cutoffs)(torch.from_numpy(users), torch.from_numpy(items), part)


@pytest.mark.parametrize("part", ("valid", "test"))
@pytest.mark.parametrize("tied", (False, True), ids=("scores differ", "scores tied"))
@pytest.mark.parametrize("seed", range(15))
def test_evaluator_against_the_protocol(seed, tied, part):
    """CUTOFFS exceed the number of items in the smaller data sets, and the held-out items of most users."""
    rng = np.random.default_rng(seed)
    dataset = tiny_dataset(
        seed, num_users=int(rng.integers(5, 40)), num_items=int(rng.integers(8, 60)), density=rng.uniform(0.2, 0.7)
    )
    vectors = _vectors(rng, dataset, tied=tied)
    assert _evaluate(dataset, *vectors, part) == pytest.approx(_protocol(dataset, *vectors, part, CUTOFFS), abs=1e-12)


@pytest.mark.parametrize("seed", range(15))
def test_metrics_of_given_rankings(seed):
    """Rankings of any quality and length, some cut short by -1."""
    rng = np.random.default_rng(seed)
    num_users, num_items = int(rng.integers(1, 20)), int(rng.integers(1, 50))
    length = int(rng.integers(1, num_items + 1))
    ranked = np.stack([rng.permutation(num_items)[:length] for _ in range(num_users)])
    for row in ranked:
        row[rng.integers(length // 2, length + 1) :] = -1
    relevant = rng.random((num_users, num_items)) < rng.uniform(0.02, 0.9)
    relevant[np.arange(num_users), rng.integers(num_items, size=num_users)] = True
    found = ranked_metrics(ranked, scipy.sparse.csr_matrix(relevant, dtype=np.float32), CUTOFFS)
    assert set(found) == {f"{metric}@{cutoff}" for metric in METRICS for cutoff in CUTOFFS}
    for user in range(num_users):
        for cutoff in CUTOFFS:
            listed = [item for item in ranked[user].tolist() if item >= 0]
            expected = _by_hand(listed, set(np.flatnonzero(relevant[user]).tolist()), cutoff)
            for metric, value in expected.items():
                assert found[f"{metric}@{cutoff}"][user] == pytest.approx(value, abs=1e-12)


def _one_user(ranked: list[int], relevant: list[int], cutoff: int, num_items: int = 100) -> dict[str, float]:
    matrix = scipy.sparse.csr_matrix((np.ones(len(relevant)), ([0] * len(relevant), relevant)), (1, num_items))
    return average_metrics(ranked_metrics(np.array([ranked]), matrix, [cutoff]))


def test_a_worked_example():
    """Hits at ranks 1 and 3 of 5, three relevant items."""
    metrics = _one_user([7, 1, 8, 2, 3], [7, 8, 50], 5)
    assert metrics == pytest.approx(
        {
            "recall@5": 2 / 3,
            "precision@5": 2 / 5,
            "map@5": (1 / 1 + 2 / 3) / 3,
            "ndcg@5": (1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2),
        }
    )


def test_one_held_out_item():
    assert _one_user([4, 9], [9], 2) == pytest.approx(
        {"recall@2": 1, "precision@2": 0.5, "map@2": 0.5, "ndcg@2": 1 / math.log2(3)}
    )


def test_more_held_out_items_than_places():
    """A perfect list is worth 1 except to recall, which no list of two can fill."""
    assert _one_user([4, 9], [4, 9, 11, 12], 2) == pytest.approx(
        {"recall@2": 0.5, "precision@2": 1, "map@2": 1, "ndcg@2": 1}
    )


def test_a_perfect_and_an_empty_list():
    assert set(_one_user([3], [3], 1).values()) == {1.0}
    assert set(_one_user([-1, -1], [99], 2).values()) == {0.0}


def test_no_item_does_not_count_as_the_last_item_of_the_user_before():
    relevant = scipy.sparse.csr_matrix(np.array([[0, 0, 1], [1, 0, 0]], dtype=np.float32))
    assert ranked_metrics(np.array([[0, 1], [1, -1]]), relevant, [2])["recall@2"].tolist() == [0, 0]


def test_places_that_the_catalogue_cannot_fill_are_misses():
    dataset = tiny_dataset()
    vectors = _vectors(np.random.default_rng(0), dataset, tied=False)
    metrics = _evaluate(dataset, *vectors, "test", (9, 1000))
    assert metrics["recall@1000"] == 1, "everything not seen in training is listed"
    assert metrics["precision@1000"] == pytest.approx(metrics["precision@9"] * 9 / 1000)
    assert metrics["map@1000"] <= 1 and metrics["ndcg@1000"] <= 1


def test_train_items_are_masked_and_others_are_not():
    dataset = tiny_dataset(3, num_users=20, num_items=15)
    vectors = _vectors(np.random.default_rng(0), dataset, tied=False)
    evaluator = Evaluator(dataset, (15,))
    for part in ("valid", "test"):
        ranked, users = evaluator.rank(*map(torch.from_numpy, vectors), part)
        for user, row in zip(users, ranked):
            trained = set(dataset.train.items[dataset.train.users == user].tolist())
            assert set(row.tolist()) - {-1} == set(range(15)) - trained


def test_never_trained_items_are_ranked():
    dataset = tiny_dataset()
    untrained = dataset.num_items - 1
    assert untrained not in dataset.train.items and untrained in dataset.test.items
    users, items = np.ones((dataset.num_users, 1), np.float32), np.zeros((dataset.num_items, 1), np.float32)
    items[untrained] = 1
    ranked, _ = Evaluator(dataset, (1,)).rank(torch.from_numpy(users), torch.from_numpy(items), "test")
    assert set(ranked[:, 0].tolist()) == {untrained}


def test_only_users_with_held_out_items_are_averaged():
    dataset = tiny_dataset(num_users=30)
    _, users = Evaluator(dataset, (5,)).rank(torch.zeros(30, 2), torch.zeros(dataset.num_items, 2), "valid")
    assert users.tolist() == sorted(set(dataset.valid.users.tolist()))
    assert len(users) < 30


def test_cut_offs_in_any_order_and_twice():
    dataset = tiny_dataset(num_items=30)
    vectors = _vectors(np.random.default_rng(1), dataset, tied=True)
    metrics = _evaluate(dataset, *vectors, "test", (20, 20, 5))
    assert metrics == _evaluate(dataset, *vectors, "test", (5, 20))
    alone = _evaluate(dataset, *vectors, "test", (5,))
    assert alone == {name: metrics[name] for name in alone}, "a longer list does not change a shorter cut-off"


@pytest.mark.parametrize("cutoff", (10**12, 10**20))
def test_a_cut_off_beyond_all_reason(cutoff):
    """It ranks the whole catalogue, in no more memory than that takes."""
    dataset = tiny_dataset(0, num_users=30, num_items=20)
    vectors = _vectors(np.random.default_rng(0), dataset, tied=False)
    everything = _from_interactions(dataset, cutoffs=[20])(*map(torch.from_numpy, vectors), "test")
    beyond = _from_interactions(dataset, cutoffs=[cutoff])(*map(torch.from_numpy, vectors), "test")
    for metric in ("recall", "map", "ndcg"):
        assert beyond[f"{metric}@{cutoff}"] == pytest.approx(everything[f"{metric}@20"])


def test_values_repeat_bit_for_bit():
    dataset = tiny_dataset(5, num_users=60, num_items=40)
    vectors = _vectors(np.random.default_rng(2), dataset, width=16, tied=False)
    first, second = (_evaluate(dataset, *vectors, "valid") for _ in range(2))
    assert first == second
    assert all(type(value) is float for value in first.values())


def test_table():
    metrics = {f"{metric}@{cutoff}": 0.01234 for metric in METRICS for cutoff in (5, 20)}
    lines = format_metrics(metrics, (5, 20)).splitlines()
    assert lines[0].split() == ["@5", "@20"]
    assert [line.split() for line in lines[1:]] == [[metric, "0.0123", "0.0123"] for metric in METRICS]


# ---------------------------------------------------------------------------------------------------------------------
# Without a dataset of ours


def _from_interactions(dataset, kind=lambda column: column, **options) -> Evaluator:
    """The evaluator of a dataset's interactions, given as others have them."""
    train, *held_out = (
        (kind(split.users), kind(split.items)) for split in (dataset.train, dataset.valid, dataset.test)
    )
    sizes = {"num_users": dataset.num_users, "num_items": dataset.num_items, "cutoffs": CUTOFFS}
    return Evaluator.from_interactions(train, dict(zip(("valid", "test"), held_out)), **sizes | options)


@pytest.mark.parametrize("kind", (np.asarray, torch.from_numpy, np.ndarray.tolist), ids=("numpy", "torch", "lists"))
def test_from_interactions(kind):
    dataset = tiny_dataset(4, num_users=30, num_items=20)
    vectors = _vectors(np.random.default_rng(0), dataset, tied=True)
    for part in ("valid", "test"):
        metrics = _from_interactions(dataset, kind)(*map(torch.from_numpy, vectors), part)
        assert metrics == _evaluate(dataset, *vectors, part)


@pytest.mark.parametrize("tied", (False, True), ids=("scores differ", "scores tied"))
def test_a_function_that_scores(tied):
    """Any function; given the inner products, the metrics are those of the vectors."""
    dataset = tiny_dataset(6, num_users=30, num_items=20)
    users, items = map(torch.from_numpy, _vectors(np.random.default_rng(0), dataset, tied=tied))
    kept = users @ items.T
    before = kept.clone()
    asked = []

    def score(block):
        asked.append(block)
        return kept[block[0] : block[0] + 1] if len(block) == 1 else kept[block]

    evaluator = _from_interactions(dataset)
    for batch_size in (1, 7, 1000):
        asked.clear()
        metrics = evaluator.of_scores(score, "test", batch_size=batch_size)
        assert metrics == evaluator(users, items, "test")
        assert max(map(len, asked)) <= batch_size
        assert torch.cat(asked).tolist() == evaluator.users("test").tolist()
    assert torch.equal(kept, before), "the model's own scores are not written into"


def test_a_function_of_numpy():
    dataset = tiny_dataset(6, num_users=30, num_items=20)
    users, items = _vectors(np.random.default_rng(0), dataset, tied=False)
    evaluator = _from_interactions(dataset)
    metrics = evaluator.of_scores(lambda block: users[block] @ items.T, "test")
    assert metrics == pytest.approx(evaluator(torch.from_numpy(users), torch.from_numpy(items), "test"))


def test_a_score_that_is_no_inner_product():
    """Popularity, the same for everybody."""
    dataset = tiny_dataset(2, num_users=30, num_items=20)
    counts = torch.bincount(torch.from_numpy(dataset.train.items), minlength=dataset.num_items).float()
    metrics = _from_interactions(dataset).of_scores(lambda users: counts.expand(len(users), -1), "test")
    ones = np.ones((dataset.num_users, 1), np.float32)
    assert metrics == _evaluate(dataset, ones, counts[:, None].numpy(), "test")


def test_users_without_training_are_measured():
    evaluator = Evaluator.from_interactions(([], []), {"test": ([1], [2])}, num_users=3, num_items=4, cutoffs=(1,))
    assert evaluator.of_scores(lambda users: torch.eye(4)[[2]], "test")["recall@1"] == 1


@pytest.mark.parametrize(
    "change, message",
    (
        ({"train": ([0, 3], [0, 1])}, "^train: users range from 0 to 3, expected 0 to 2"),
        ({"train": ([0], [-1])}, "^train: items range from -1"),
        ({"train": ([0, 1], [0])}, "^train: users .* one length"),
        ({"held_out": {"test": ([], [])}}, "^test: no interactions"),
        ({"held_out": {"later": ([0], [4])}}, "^later: items range from 4 to 4"),
        ({"train": (np.array([True, False, True]), [0, 1, 2])}, "^train: users are bool.*flatnonzero"),
        ({"held_out": {"test": ([0], torch.tensor([1.5]))}}, "^test: items are float32, expected integer"),
        ({"cutoffs": (0, 5)}, "^cutoffs"),
        ({"cutoffs": ()}, "^cutoffs"),
    ),
)
def test_interactions_that_cannot_be_used(change, message):
    arguments = {"train": ([0], [0]), "held_out": {"test": ([1], [1])}, "num_users": 3, "num_items": 4}
    Evaluator.from_interactions(**arguments)
    with pytest.raises(InputError, match=message):
        Evaluator.from_interactions(**(arguments | change))


def test_scores_and_parts_that_cannot_be_used():
    evaluator = Evaluator.from_interactions(([0], [0]), {"test": ([1], [1])}, num_users=3, num_items=4)
    with pytest.raises(InputError, match=r"^scores have shape \(1, 3\), expected \(1, 4\)"):
        evaluator.of_scores(lambda users: torch.zeros(len(users), 3), "test")
    with pytest.raises(InputError, match="no part 'valid' to evaluate; choose from test"):
        evaluator.of_scores(lambda users: torch.zeros(len(users), 4), "valid")


def _two_users() -> Evaluator:
    return Evaluator.from_interactions(
        ([0, 1, 2], [10, 10, 10]), {"test": ([0, 1, 2], [27, 28, 29])}, num_users=3, num_items=30, cutoffs=(5,)
    )


@pytest.mark.parametrize("value", (float("nan"), float("inf"), -float("inf")))
def test_embeddings_that_are_not_finite(value):
    """Those of the held-out items would rank first, a recall of 1."""
    users, items = torch.ones(3, 4), torch.zeros(30, 4)
    items[27:, 2] = value
    with pytest.raises(InputError, match=rf"^item 27: its embedding has {value} in it.*\(3 items have\)"):
        _two_users()(users, items, "test")
    users[1] = value
    with pytest.raises(InputError, match="^user 1: its embedding"):
        _two_users()(users, torch.zeros(30, 4), "test")


def test_embeddings_of_other_shapes_and_types():
    for users, items, message in (
        (torch.ones(2, 4), torch.ones(30, 4), r"^user embeddings: shape \(2, 4\), expected \(3, E\)"),
        (torch.ones(3, 4), torch.ones(30), r"^item embeddings: shape \(30,\), expected \(30, E\)"),
        (np.ones((3, 4)), torch.ones(30, 4), "^user embeddings: a ndarray, expected a torch.Tensor"),
        (torch.ones(3, 4), torch.ones(30, 4, dtype=torch.complex64), "^item embeddings: torch.complex64 has no order"),
    ):
        with pytest.raises(InputError, match=message):
            _two_users()(users, items, "test")
    whole = torch.arange(30)[:, None]
    assert _two_users()(torch.ones(3, 1, dtype=torch.int64), whole, "test")["recall@5"] == 1
    assert _two_users()(torch.ones(3, 1), whole == 27, "test")["recall@5"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_scores_that_are_not_finite(value):
    def score(users):
        scores = torch.zeros(len(users), 30)
        scores[users == 1, 28] = value
        return scores

    with pytest.raises(InputError, match=f"^user 1: the score of item 28 is {value}"):
        _two_users().of_scores(score, "test", batch_size=2)


@pytest.mark.parametrize("dtype", (torch.int64, torch.int8, torch.float64, torch.float16, torch.bfloat16))
def test_scores_of_any_real_type(dtype):
    assert _two_users().of_scores(lambda users: torch.arange(30, dtype=dtype).expand(len(users), -1), "test") == {
        name: pytest.approx(value)
        for name, value in _two_users()(torch.ones(3, 1), torch.arange(30.0)[:, None], "test").items()
    }
    with pytest.raises(InputError, match="^scores: torch.complex64 has no order"):
        _two_users().of_scores(lambda users: torch.zeros(len(users), 30, dtype=torch.complex64), "test")


def test_a_score_of_minus_infinity_says_never():
    scores = torch.arange(30.0)
    scores[27] = -float("inf")
    ranked, _ = _two_users().rank_scores(lambda users: scores.expand(len(users), -1), "test")
    assert (ranked == [[29, 28, 26, 25, 24]]).all()
