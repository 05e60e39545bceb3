"""Items that nobody has, users that the model knows nothing of, and what counts as seen."""

import csv
import io
import logging

import numpy as np
import pytest
import torch
from refused import assert_refused
from small_runs import ITEMS, LIGHTGCN_FLAGS, USERS, interactions, metrics

from mde_fast import Recommender
from mde_fast.data import load_dataset
from mde_fast.ranking.evaluator import average_metrics, ranked_metrics

NOBODYS = range(ITEMS, 100)  # rows between the last item that somebody has and the largest id
LAST, COLD = 100, 70  # the largest id; an id that has features alone
HELD_OUT_ONLY, ABSENT = USERS, USERS + 1  # users


@pytest.fixture(scope="package")
def sparse(tmp_path_factory):
    """Runs of MDE and LightGCN on interactions whose ids leave gaps, and on a user with held-out items alone."""
    from mde_fast import start_run
    from mde_fast.runs.config import make_config

    root = tmp_path_factory.mktemp("sparse")
    rows = [*interactions(), (0, LAST, 0), (HELD_OUT_ONLY, 3, 1), (HELD_OUT_ONLY, 5, 2)]
    lines = ["userID\titemID\tx_label", *("\t".join(map(str, row)) for row in rows)]
    (root / "gaps").mkdir()
    (root / "gaps" / "gaps.inter").write_text("\n".join(lines) + "\n")
    matrix = np.zeros((LAST + 1, 8), np.float32)
    matrix[[*range(ITEMS), COLD, LAST]] = np.random.default_rng(0).standard_normal((ITEMS + 2, 8))
    for name in ("image", "text"):
        np.save(root / "gaps" / f"{name}_feat.npy", matrix)
    options = {"dataset": "gaps", "data_dir": str(root), "cache_dir": "none", "device": "cpu", "epochs": 2}
    for model in ("mde", "lightgcn"):
        small = {"embedding_size": 8, "train_batch_size": 64, "learning_rate": 0.01}
        start_run(make_config({**options, **small, "model": model}), root / model)
    return root


def listed(recommender: Recommender, user, **options) -> set:
    (answer,) = recommender.recommend([user], k=1000, **options)
    return {item for item, _ in answer}


@pytest.mark.parametrize("model", ("mde", "lightgcn"))
def test_items_that_nobody_has_are_never_recommended(sparse, model):
    recommender = Recommender.load(sparse / model)
    had = {item for user, item, _ in interactions() if user == 7}
    assert listed(recommender, 7) == {*range(ITEMS), LAST} - had
    with_content = listed(recommender, 7, candidates="content")
    assert with_content == {*range(ITEMS), LAST, *([COLD] if model == "mde" else [])} - had
    assert listed(recommender, 7, candidates="all") == {*range(LAST + 1)} - had


def test_nor_listed_as_similar(sparse):
    recommender = Recommender.load(sparse / "mde")
    (near,) = recommender.similar_items([5], k=1000)
    assert {item for item, _ in near} == {*range(ITEMS), LAST} - {5}
    (near,) = recommender.similar_items([COLD], k=1000, candidates="content")
    assert {item for item, _ in near} == {*range(ITEMS), LAST}, "a cold item may be asked about"
    (near,) = recommender.similar_items([5], k=1000, candidates="all")
    assert {item for item, _ in near} == {*range(LAST + 1)} - {5}


def test_ranked_as_without_the_items_left_out(sparse):
    """The items that are left keep their scores and their order."""
    recommender = Recommender.load(sparse / "mde")
    (everything,), (known,) = (recommender.recommend([7], k=1000, candidates=which) for which in ("all", "known"))
    kept = {item for item, _ in known}
    assert [item for item, _ in everything if item in kept] == [item for item, _ in known]
    assert dict(known) == pytest.approx({item: score for item, score in everything if item in kept})


def test_a_user_with_held_out_items_alone_is_refused(sparse, command, refused):
    outcome = command("recommend", sparse / "mde", "--user", HELD_OUT_ONLY)
    refused(outcome, f"user {HELD_OUT_ONLY}: has no training interaction", "--unknown popular")
    refused(command("recommend", sparse / "mde", "--user", ABSENT), f"user {ABSENT}: not in the data")


def test_or_served_by_popularity(sparse, caplog):
    recommender = Recommender.load(sparse / "mde")
    counts = np.bincount([item for _, item, _ in [*interactions(), (0, LAST, 0), (0, 3, 0), (0, 5, 0)]])
    ranking = [item for item in np.argsort(-counts, kind="stable").tolist() if counts[item]]
    with caplog.at_level(logging.WARNING, "mde_fast"):
        mine, theirs, known = recommender.recommend([HELD_OUT_ONLY, ABSENT, 7], k=1000, unknown="popular")
    assert [item for item, _ in theirs] == ranking
    assert [score for _, score in theirs] == [counts[item] for item in ranking]
    assert [item for item, _ in mine] == [item for item in ranking if item not in (3, 5)], "what they have is known"
    assert [known] == recommender.recommend([7], k=1000)
    assert f"2 unknown ({HELD_OUT_ONLY}, {ABSENT}) get the most popular items" in caplog.text
    (mine,) = recommender.recommend([HELD_OUT_ONLY], k=1000, unknown="popular", filter_seen="train")
    assert [item for item, _ in mine] == ranking


def test_or_skipped(sparse, command):
    recommender = Recommender.load(sparse / "mde")
    users = [3, ABSENT, 7, HELD_OUT_ONLY]
    answers = recommender.recommend(users, unknown="skip")
    assert [len(answer) for answer in answers] == [10, 0, 10, 0]
    assert recommender.unknown_users(users) == [ABSENT, HELD_OUT_ONLY]
    flags = (word for user in users for word in ("--user", user))
    outcome = command("recommend", sparse / "mde", *flags, "--unknown", "skip", "--format", "csv")
    assert {row["user"] for row in csv.DictReader(io.StringIO(outcome.out))} == {"3", "7"}
    assert (
        outcome.err == f"users: 2 unknown ({ABSENT}, {HELD_OUT_ONLY}) are left out, the model knows nothing of them\n"
    )


def test_all_users_are_those_that_the_model_knows(sparse, command):
    outcome = command("recommend", sparse / "mde", "--all-users", "--format", "csv")
    assert {int(row["user"]) for row in csv.DictReader(io.StringIO(outcome.out))} == set(range(USERS))
    assert f"users: 1 unknown ({HELD_OUT_ONLY})" in outcome.err
    outcome = command("recommend", sparse / "mde", "--all-users", "--unknown", "popular", "--format", "csv")
    assert str(HELD_OUT_ONLY) in {row["user"] for row in csv.DictReader(io.StringIO(outcome.out))}


def test_the_line_after_training_names_somebody_the_model_knows(command, tmp_path):
    """Whoever comes first in the file may have held-out items alone."""
    lines = ["userID\titemID\tx_label", "0\t1\t1", *("\t".join(map(str, (u + 1, i, s))) for u, i, s in interactions())]
    (tmp_path / "late.inter").write_text("\n".join(lines) + "\n")
    outcome = command("train", *LIGHTGCN_FLAGS, f"--dataset={tmp_path / 'late.inter'}", "--epochs=1", "--output=run")
    assert "recommend run --user 1 --k 10" in outcome.out


def test_an_export_measures_what_the_metrics_measured(finished):
    """The command's rankings, with what the metrics leave out and rank, give metrics.json to the last digit."""
    recommender = Recommender.load(finished)
    dataset = load_dataset("shop", data_dir=finished.parent / "data", use_features=False)
    relevant = dataset.test.matrix(dataset.num_users, dataset.num_items)
    users = np.flatnonzero(np.diff(relevant.indptr))
    ids = [recommender.user_ids[user] for user in users]
    answers = recommender.recommend(ids, k=50, filter_seen="train", candidates="all")
    row_of = {item: row for row, item in enumerate(recommender.item_ids)}
    ranked = np.full((len(users), 50), -1)
    for place, answer in enumerate(answers):
        ranked[place, : len(answer)] = [row_of[item] for item, _ in answer]
    result = metrics(finished)
    cutoffs = sorted({int(name.partition("@")[2]) for name in result["test"]})
    assert average_metrics(ranked_metrics(ranked, relevant[users], cutoffs)) == result["test"]
    assert result["test"]["recall@5"] > 0
    held_back = recommender.recommend(ids, k=50)
    for user, answer in zip(users, held_back):
        assert not {row_of[item] for item, _ in answer} & set(relevant[user].indices), "known, so not recommended"


@pytest.mark.parametrize(
    "flags, parts",
    [
        (("--filter-seen", "some"), ["--filter-seen", "some"]),
        (("--include-seen", "--filter-seen", "train"), ["give one of the two"]),
        (("--candidates", "warm"), ["--candidates", "warm"]),
        (("--unknown", "guess"), ["--unknown", "guess"]),
    ],
)
def test_choices_that_there_are_not(finished, command, refused, flags, parts):
    refused(command("recommend", finished, "--user", 1, *flags), *parts)


@pytest.mark.parametrize("option", ("filter_seen", "candidates", "unknown"))
def test_choices_that_there_are_not_in_python(finished, option):
    """Also where nobody is unknown."""
    recommender = Recommender.load(finished)
    assert_refused(lambda: recommender.recommend([1], **{option: "some"}), f"{option}: 'some' is not one of")


def test_include_seen_is_filter_none(finished, command):
    one, other = (
        command("recommend", finished, "--user", 4, "--k", 100, *flags).out
        for flags in (["--include-seen"], ["--filter-seen", "none"])
    )
    assert one == other and one.count("\n") == ITEMS + 1
    recommender = Recommender.load(finished)
    assert recommender.recommend([4], filter_seen=False) == recommender.recommend([4], filter_seen="none")
    assert recommender.recommend([4], filter_seen=True) == recommender.recommend([4], filter_seen="all")


# ---------------------------------------------------------------------------------------------------------------------
# Ids as Python has them


@pytest.mark.parametrize(
    "users",
    [
        *([five] for five in (5, "5", 5.0, np.int64(5), np.float32(5), torch.tensor(5), b"5")),
        *(torch.tensor([5]), np.array([5.0]), (5,), {5}, {5: 1}),
    ],
    ids=lambda users: f"{type(users).__name__} of {type(next(iter(users))).__name__}",
)
def test_one_user_in_every_form(finished, users):
    recommender = Recommender.load(finished)
    assert recommender.recommend(users, k=3) == recommender.recommend(["5"], k=3)
    assert recommender.similar_items(users, k=3) == recommender.similar_items(["5"], k=3)


@pytest.mark.parametrize("one", [5, "5", 5.0, np.int64(5), torch.tensor(5), None, b"5"], ids=repr)
def test_one_id_alone(finished, one):
    recommender = Recommender.load(finished)
    assert_refused(lambda: recommender.recommend(one), "users: give a list of ids")
    assert_refused(lambda: recommender.similar_items(one), "items: give a list of ids")


@pytest.mark.parametrize("unknown", [500, 5.5, -5, None, True, float("nan"), "500", [5]], ids=repr)
def test_an_unknown_number_without_a_guess(finished, unknown):
    recommender = Recommender.load(finished)
    with pytest.raises(ValueError) as caught:
        recommender.recommend([1, unknown])
    assert str(caught.value) == f"user {unknown}: not in the data that this model was trained on"


def test_one_unknown_item_of_many(finished, caplog):
    recommender = Recommender.load(finished)
    answers = recommender.similar_items([1, "forty", 2], k=3, unknown="skip")
    alone = [*recommender.similar_items([1], k=3), [], *recommender.similar_items([2], k=3)]
    assert [[item for item, _ in answer] for answer in answers] == [[item for item, _ in answer] for answer in alone]
    assert "items: 1 unknown (forty) are left out" in caplog.text


@pytest.mark.parametrize("k", [2, 2.0, np.int32(2), np.float64(2), torch.tensor(2)], ids=repr)
def test_how_many_in_every_form(finished, k):
    assert len(Recommender.load(finished).recommend([1], k=k)[0]) == 2


@pytest.mark.parametrize("k", [2.5, "2", None, True, float("nan"), float("inf"), [2]], ids=repr)
def test_how_many_that_is_no_number(finished, k):
    assert_refused(lambda: Recommender.load(finished).recommend([1], k=k), "is no whole number")


@pytest.mark.parametrize("which, row", (("user_vectors", 4), ("item_vectors", 9)))
def test_vectors_that_are_not_finite(finished, which, row):
    recommender = Recommender.load(finished)
    vectors = {name: getattr(recommender, name).clone() for name in ("user_vectors", "item_vectors")}
    vectors[which][row, 0] = float("nan")
    assert_refused(lambda: Recommender(**vectors, catalogue=recommender.catalogue), f"{which[:4]} {row}: its embedding")
