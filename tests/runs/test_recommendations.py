"""Recommendations in the ids of the data, from the command line and from Python."""

import csv
import datetime
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from small_runs import ITEMS, USERS, features, interactions

from mde_fast import Recommender
from mde_fast.errors import InputError
from mde_fast.runs.run import RunFolder

SEEN = {user: {item for one, item, _ in interactions() if one == user} for user in range(USERS)}


@pytest.fixture
def recommended(command):
    """recommended(run, ...) -> what --format json prints."""

    def recommended(run, *arguments):
        outcome = command("recommend", run, *arguments, "--format", "json")
        assert (outcome.status, outcome.err) == (0, "")
        return json.loads(outcome.out)

    return recommended


@pytest.fixture(scope="package")
def scores(finished):
    """(users, items) inner products of the saved embeddings."""
    _, tensors = RunFolder(finished).checkpoints.load("best")
    return (tensors["user_embeddings"].double() @ tensors["item_embeddings"].double().T).numpy()


def test_the_best_unseen_items_with_their_inner_products(finished, recommended, scores):
    (answer,) = recommended(finished, "--user", 17, "--k", 5)
    assert answer["user"] == 17, "as in the data, not its text"
    unseen = [item for item in np.argsort(-scores[17], kind="stable") if item not in SEEN[17]][:5]
    assert [entry["item"] for entry in answer["items"]] == unseen
    assert [entry["score"] for entry in answer["items"]] == pytest.approx(scores[17, unseen].tolist(), rel=1e-5)


def test_items_of_no_split_come_back(finished, recommended):
    """Not of training alone: whoever bought it in the test period has it as well."""
    for answer in recommended(finished, "--all-users", "--k", ITEMS):
        items = {entry["item"] for entry in answer["items"]}
        assert items == set(range(ITEMS)) - SEEN[answer["user"]]


def test_unless_they_are_asked_for(finished, recommended, scores):
    (answer,) = recommended(finished, "--user", 4, "--k", 1000, "--include-seen")
    assert [entry["item"] for entry in answer["items"]] == np.argsort(-scores[4], kind="stable").tolist()


def test_text(finished, command, recommended):
    out = command("recommend", finished, "--user", 3, "--user", 5, "--k", 2).out.splitlines()
    first, second = recommended(finished, "--user", 3, "--user", 5, "--k", 2)
    expected = []
    for answer in (first, second):
        one, two = answer["items"]
        expected += [
            f"user {answer['user']}",
            f"   1  {one['item']}  {one['score']:.4f}",
            f"   2  {two['item']}  {two['score']:.4f}",
        ]
    assert out == expected


def test_csv(finished, command, recommended):
    out = command("recommend", finished, "--all-users", "--k", 3, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert out.splitlines()[0] == "user,rank,item,score" and len(rows) == 3 * USERS
    answers = recommended(finished, "--all-users", "--k", 3)
    flat = [
        (str(answer["user"]), str(rank), str(entry["item"]), f"{entry['score']:.6f}")
        for answer in answers
        for rank, entry in enumerate(answer["items"], 1)
    ]
    assert [tuple(row.values()) for row in rows] == flat


def test_users_from_a_file(finished, recommended, tmp_path):
    (tmp_path / "users.txt").write_bytes("\ufeff7\r\n\r\n 9 \r\n".encode())
    answers = recommended(finished, "--users-file", tmp_path / "users.txt", "--user", 1)
    assert [answer["user"] for answer in answers] == [1, 7, 9]


def test_similar_items(finished, recommended, command):
    answer, _ = recommended(finished, "--item", 8, "--item", 9, "--k", 4)
    _, tensors = RunFolder(finished).checkpoints.load("best")
    vectors = tensors["item_embeddings"].double().numpy()
    cosines = vectors @ vectors[8] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[8])
    nearest = [item for item in np.argsort(-cosines, kind="stable") if item != 8][:4]
    assert [entry["item"] for entry in answer["items"]] == nearest
    assert [entry["score"] for entry in answer["items"]] == pytest.approx(cosines[nearest].tolist(), rel=1e-5)
    out = command("recommend", finished, "--item", 8, "--format", "csv").out
    assert out.splitlines()[0] == "item,rank,similar_item,score"


def test_every_other_item_is_similar_to_some_degree(finished, recommended):
    (answer,) = recommended(finished, "--item", 8, "--k", 1000)
    assert {entry["item"] for entry in answer["items"]} == set(range(ITEMS)) - {8}


def test_python_gives_what_the_command_line_prints(finished, recommended):
    recommender = Recommender.load(finished)
    answers = recommended(finished, "--all-users", "--k", 7)
    assert recommender.user_ids == list(range(USERS)) and recommender.item_ids == list(range(ITEMS))
    rows = recommender.recommend(recommender.user_ids, k=7)
    assert rows == [[(entry["item"], entry["score"]) for entry in answer["items"]] for answer in answers]
    assert recommender.recommend(["17"], k=3) == recommender.recommend([17], k=3)
    (answer,) = recommended(finished, "--item", 2)
    assert recommender.similar_items([2]) == [[(entry["item"], entry["score"]) for entry in answer["items"]]]


@pytest.fixture
def bookshop(training, tmp_path):
    """A run on a CSV table whose ids are strings, and its table's folder."""
    folder = tmp_path / "bookshop"
    folder.mkdir()
    lines = ["customer,isbn,fold"]
    lines += [f"Zoë {user:02},{item:010},{('train', 'valid', 'test')[part]}" for user, item, part in interactions()]
    (folder / "interactions.csv").write_text("\n".join(lines), encoding="utf-8")
    files = []
    for name, matrix in features().items():
        np.save(folder / f"{name}s.npy", matrix)
        files.append(f"{name}={name}s.npy")
    columns = ["--user-column", "customer", "--item-column", "isbn", "--split-column", "fold"]
    outcome = training("--dataset", folder, "--features", ",".join(files), *columns, "--output", "run")
    assert outcome.status == 0, outcome.err
    return folder


def test_ids_are_those_of_the_data(bookshop, recommended, command, finished):
    (answer,) = recommended("run", "--user", "Zoë 17", "--k", 5)
    (same,) = recommended(finished, "--user", 17, "--k", 5)
    assert answer["user"] == "Zoë 17"
    assert [entry["item"] for entry in answer["items"]] == [f"{entry['item']:010}" for entry in same["items"]]
    assert "Zoë 17" in command("recommend", "run", "--user", "Zoë 17").out


def test_the_data_is_not_needed_any_more(bookshop, recommended):
    shutil.rmtree(bookshop)
    assert len(recommended("run", "--all-users")) == USERS


def test_an_unknown_user_with_a_guess(bookshop, command, refused):
    refused(command("recommend", "run", "--user", "Zoe 17"), "user Zoe 17: not in the data", "did you mean Zoë 17?")


def test_an_unknown_item(finished, command, refused):
    refused(command("recommend", finished, "--item", "forty"), "item forty: not in the data")


def test_one_id_is_not_a_list_of_its_letters(finished):
    recommender = Recommender.load(finished)
    for recommend, kind in ((recommender.recommend, "users"), (recommender.similar_items, "items")):
        with pytest.raises(InputError, match=f"{kind}: give a list of ids, \\['17'\\]"):
            recommend("17")


def test_one_unknown_user_of_many(finished, command, refused):
    outcome = command("recommend", finished, "--user", 1, "--user", 9999)
    refused(outcome, "user 9999")
    assert outcome.out == ""


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ((), ["name users", "or items"]),
        (("--user", 1, "--item", 2), ["one of the two"]),
        (("--user", 1, "--k", 0), ["k: 0 must be 1 or more"]),
        (("--user", 1, "--k", "many"), ["--k", "many"]),
        (("--user", 1, "--format", "xml"), ["--format", "xml"]),
        (("--users-file", "nowhere.txt"), ["nowhere.txt", "cannot be read"]),
        (("--user",), ["--user"]),
    ],
)
def test_arguments_that_make_no_sense(finished, command, refused, arguments, parts):
    refused(command("recommend", finished, *arguments), *parts)


def test_no_run_at_all(command, refused):
    refused(command("recommend", "nowhere", "--user", 1), "nowhere: not a run folder")
    refused(command("recommend", "--user", 1), "RUN")


def test_a_file_without_users(finished, command, refused, tmp_path):
    (tmp_path / "users.txt").write_text("\n")
    refused(command("recommend", finished, "--users-file", tmp_path / "users.txt"), "users.txt: no user ids in it")


def test_ids_of_unusual_types(training, recommended, tmp_path):
    """Parquet has types that JSON has not."""
    folder = tmp_path / "calendar"
    folder.mkdir()
    rows = interactions()
    start = datetime.date(2024, 1, 1)
    days = [start + datetime.timedelta(days=item) for _, item, _ in rows]
    codes = [b"u%02d" % user for user, _, _ in rows]
    split = [("train", "valid", "test")[part] for _, _, part in rows]
    pa.parquet.write_table(pa.table({"user": codes, "item": days, "split": split}), folder / "interactions.parquet")
    for name, matrix in features().items():
        np.save(folder / f"{name}_feat.npy", matrix)
    outcome = training("--dataset", folder, "--output", "run", "--epochs", 1)
    assert outcome.status == 0, outcome.err
    (answer,) = recommended("run", "--user", "u03", "--k", 1)
    assert answer["items"][0]["item"].startswith("2024-0")
