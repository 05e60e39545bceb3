"""Recommendations in files, of a part of the items, and of several runs beside each other."""

import csv
import io
import json
import logging
import os

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from refused import assert_refused
from small_runs import ITEMS, USERS, interactions

import mde_fast.ranking.blocks as blocks
from mde_fast import Recommender
from mde_fast.ranking.catalogue import Catalogue
from mde_fast.ranking.list_files import write_lists

ABSENT = 9999


@pytest.fixture
def few_at_once(monkeypatch):
    """Blocks of seven users where k is 5."""
    monkeypatch.setattr(blocks, "RANKED_AT_ONCE", 35)


@pytest.fixture
def lists(finished):
    """User -> what Python recommends."""
    recommender = Recommender.load(finished)
    return dict(zip(recommender.user_ids, recommender.recommend(recommender.user_ids, k=5)))


def written(command, run, *arguments):
    outcome = command("recommend", run, *arguments)
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out


def test_parquet(finished, command, few_at_once, lists):
    out = written(command, finished, "--all-users", "--k", 5, "--output", "recs.parquet")
    assert out == f"recs.parquet: {USERS} users, {5 * USERS} rows\n"
    file = pa.parquet.ParquetFile("recs.parquet")
    assert file.num_row_groups == -(-USERS // 7), "a block at a time"
    assert file.schema_arrow.types == [pa.int64(), pa.int32(), pa.int64(), pa.float32()]
    assert b"mde_fast" in file.schema_arrow.metadata
    rows = [tuple(row.values()) for row in file.read().to_pylist()]
    assert rows == [
        (user, rank, item, score) for user, row in lists.items() for rank, (item, score) in enumerate(row, 1)
    ]


def test_csv_is_what_is_printed(finished, command, few_at_once, tmp_path):
    arguments = ["--all-users", "--k", 5, "--filter-seen", "train", "--candidates", "all"]
    written(command, finished, *arguments, "--output", "new folder/recs.csv")
    printed = command("recommend", finished, *arguments, "--format", "csv").out
    with open("new folder/recs.csv", encoding="utf-8", newline="") as file:
        assert file.read() == printed
    assert os.listdir("new folder") == ["recs.csv"]


def test_json_lines(finished, command, few_at_once, lists):
    written(command, finished, "--all-users", "--k", 5, "--output", "recs.JSONL")
    with open("recs.JSONL", encoding="utf-8") as file:
        answers = [json.loads(line) for line in file]
    assert {
        answer["user"]: [(entry["item"], entry["score"]) for entry in answer["items"]] for answer in answers
    } == lists


def test_similar_items_in_a_file(finished, command):
    written(command, finished, "--item", 8, "--item", 9, "--k", 4, "--output", "near.csv")
    with open("near.csv", encoding="utf-8", newline="") as file:
        assert file.read() == command("recommend", finished, "--item", 8, "--item", 9, "--k", 4, "--format", "csv").out


def test_users_who_get_the_most_popular_items(finished, command, few_at_once):
    """Ids of numbers and of text stand in one column."""
    users = ["--user", 3, "--user", "someone", "--user", 4]
    outcome = command("recommend", finished, *users, "--unknown", "popular", "--k", 5, "--output", "recs.parquet")
    assert outcome.status == 0 and "someone" in outcome.err
    table = pa.parquet.read_table("recs.parquet")
    assert table["user"].to_pylist() == ["3"] * 5 + ["someone"] * 5 + ["4"] * 5
    (popular,) = Recommender.load(finished).recommend(["someone"], 5, unknown="popular")
    assert table["item"].to_pylist()[5:10] == [item for item, _ in popular]
    outcome = command("recommend", finished, *users, "--unknown", "skip", "--k", 5, "--output", "recs.parquet")
    assert outcome.out == "recs.parquet: 2 users, 10 rows\n"
    assert pa.parquet.read_table("recs.parquet")["user"].to_pylist() == [3] * 5 + [4] * 5


def test_blocks_change_nothing(finished, monkeypatch):
    recommender = Recommender.load(finished)
    users = [5, ABSENT, *range(20), "nobody"]
    for options in ({"unknown": "popular"}, {"unknown": "skip", "exclude": [3]}):
        whole = recommender.recommend(users, 6, **options)
        for at_once in (1, 6, 13, 100):
            monkeypatch.setattr(blocks, "RANKED_AT_ONCE", at_once)
            parts = list(recommender.recommend_in_blocks(users, 6, **options))
            assert max(len(part.subjects) for part in parts) == max(1, at_once // 6)
            assert [row for part in parts for row in recommender.named(part)] == [
                [(item, pytest.approx(score)) for item, score in row] for row in whole
            ]
        monkeypatch.undo()


def test_a_file_is_there_whole_or_not_at_all(finished, tmp_path):
    recommender = Recommender.load(finished)

    def interrupted():
        yield next(recommender.recommend_in_blocks([1], 3))
        raise KeyboardInterrupt

    for name in ("recs.parquet", "recs.csv", "recs.jsonl"):
        (tmp_path / name).write_text("as before")
        with pytest.raises(KeyboardInterrupt):
            write_lists(tmp_path / name, interrupted(), "user", subjects=[1], items=recommender.item_ids)
        assert (tmp_path / name).read_text() == "as before"
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--user", 1, "--output", "recs.xlsx"], ["recs.xlsx", ".parquet, .csv, .jsonl"]),
        (["--user", 1, "--output", "recs"], ["recs:", ".parquet"]),
        (["--user", 1, "--output", "a.csv", "--format", "json"], ["--output and --format"]),
        (["other", "--user", 1, "--output", "a.csv"], ["--output: takes one run"]),
        (["--user", 1, "--items-file", "nowhere.txt"], ["nowhere.txt: cannot be read", "one item id a line"]),
        (["--user", 1, "--exclude-file", "empty.txt"], ["empty.txt: no item ids in it"]),
        (["--user", 1, "--items-file", "items.txt"], ["item no such: not in the data"]),
        (["--user", 1, "--exclude-file", "items.txt"], ["item no such: not in the data"]),
        (["--user", ABSENT, "--output", "a.csv"], [f"user {ABSENT}: not in the data"]),
    ],
)
def test_what_makes_no_sense(finished, command, refused, arguments, parts, tmp_path):
    (tmp_path / "here" / "empty.txt").write_text("\n \n")
    (tmp_path / "here" / "items.txt").write_text("5\nno such\n")
    refused(command("recommend", finished, *arguments), *parts)
    assert sorted(os.listdir()) == ["empty.txt", "items.txt"], "nothing is written"


def test_a_folder_is_no_file(finished, command, refused, tmp_path):
    (tmp_path / "here" / "old.csv").mkdir()
    refused(command("recommend", finished, "--user", 1, "--output", "old.csv"), "old.csv: is a folder")
    (tmp_path / "here" / "file").write_text("")
    refused(command("recommend", finished, "--user", 1, "--output", "file/recs.csv"), "cannot write")


def test_these_items_alone(finished, command, tmp_path):
    recommender = Recommender.load(finished)
    (everything,) = recommender.recommend([7], k=ITEMS)
    wanted = [31, 2, 17, 5, 2, 30]
    (some,) = recommender.recommend([7], k=ITEMS, items=wanted)
    assert [item for item, _ in some] == [item for item, _ in everything if item in wanted]
    assert dict(some) == pytest.approx({item: score for item, score in everything if item in wanted})
    (left,) = recommender.recommend([7], k=ITEMS, exclude=torch.tensor(wanted))
    assert [item for item, _ in left] == [item for item, _ in everything if item not in wanted]
    (one,) = recommender.recommend([7], k=3, items=wanted, exclude=["31", 17, 5])
    assert {item for item, _ in one} <= {2, 30}
    (tmp_path / "items.txt").write_text("\n".join(map(str, wanted)))
    (tmp_path / "not.txt").write_text("31\n17\n5\n")
    flags = ["--items-file", tmp_path / "items.txt", "--exclude-file", tmp_path / "not.txt", "--format", "json"]
    (answer,) = json.loads(written(command, finished, "--user", 7, *flags))
    assert {entry["item"] for entry in answer["items"]} == {item for item, _ in one}


def test_also_for_the_most_popular_and_for_similar_items(finished, command, tmp_path):
    recommender = Recommender.load(finished)
    wanted = [31, 2, 17]
    (popular,) = recommender.recommend([ABSENT], unknown="popular", items=wanted)
    assert {item for item, _ in popular} == set(wanted)
    (near,) = recommender.similar_items([2], k=ITEMS, among=wanted)
    assert {item for item, _ in near} == {31, 17}
    (near,) = recommender.similar_items([2], k=ITEMS, exclude=wanted)
    assert {item for item, _ in near} == set(range(ITEMS)) - set(wanted)
    (tmp_path / "items.txt").write_text("31\n2\n17\n")
    (answer,) = json.loads(
        written(command, finished, "--item", 2, "--items-file", tmp_path / "items.txt", "--format", "json")
    )
    assert {entry["item"] for entry in answer["items"]} == {31, 17}


def test_the_whitelist_does_not_widen_the_candidates(caplog):
    """An item that nobody has stays out, with a line that says so."""
    graph = blocks.CSRGraph.from_edges(torch.tensor([0, 1]), torch.tensor([0, 1]), (2, 4))
    catalogue = Catalogue(["a", "b"], ["w", "x", "y", "z"], graph, graph, torch.tensor([True, True, True, False]))
    recommender = Recommender(torch.ones(2, 3), torch.ones(4, 3), catalogue)
    with caplog.at_level(logging.WARNING, "mde_fast"):
        assert recommender.recommend(["a"], items=["x", "y", "z"]) == [[("x", 3.0)]]
    assert "items: 2 (y, z) are none of the candidates (known)" in caplog.text
    (answer,) = recommender.recommend(["a"], items=["x", "y", "z"], candidates="content")
    assert [item for item, _ in answer] == ["x", "y"]
    assert_refused(lambda: recommender.recommend(["a"], items=["z"]), "no item is left to recommend", "known")
    assert_refused(lambda: recommender.recommend(["a"], exclude=["w", "x"]), "no item is left")
    assert_refused(lambda: recommender.recommend(["a"], items=[]), "items: an empty list")
    assert_refused(lambda: recommender.recommend(["a"], items="x"), "give a list of ids, ['x']")
    assert recommender.recommend(["a"], exclude=[]) == recommender.recommend(["a"])


def test_items_that_the_data_do_not_have(finished, command, tmp_path):
    """A shop's list of its stock is of today, the model of yesterday."""
    (tmp_path / "stock.txt").write_text("5\n6\nbrand new\n7\n")
    stock = ["--items-file", tmp_path / "stock.txt"]
    outcome = command("recommend", finished, "--user", 1, "--unknown", "skip", *stock, "--format", "csv")
    assert outcome.status == 0
    assert outcome.err == "items: 1 unknown (brand new) are passed over, they are not in the data\n"
    assert {row["item"] for row in csv.DictReader(io.StringIO(outcome.out))} <= {"5", "6", "7"}
    assert command("recommend", finished, "--all-users", *stock).status == 0, "as unknown users are skipped there"


@pytest.fixture
def other(trained):
    """A run of another seed."""
    return trained("other", "--epochs", 1, "--seed", 3)


def test_several_runs_side_by_side(finished, other, command):
    flags = ["--user", 3, "--user", 17, "--k", 4]
    rows = {run: Recommender.load(run).recommend([3, 17], 4) for run in (finished, other)}
    answers = json.loads(written(command, finished, other, *flags, "--format", "json"))
    for place, (user, answer) in enumerate(zip((3, 17), answers)):
        assert answer["user"] == user and [one["run"] for one in answer["runs"]] == [str(finished), str(other)]
        for run, one in zip((finished, other), answer["runs"]):
            assert [(entry["item"], entry["score"]) for entry in one["items"]] == rows[run][place]
    table = list(csv.DictReader(io.StringIO(written(command, finished, other, *flags, "--format", "csv"))))
    assert [(row["user"], row["run"], int(row["item"])) for row in table] == [
        (str(user), str(run), item)
        for place, user in enumerate((3, 17))
        for run in (finished, other)
        for item, _ in rows[run][place]
    ]
    lines = written(command, finished, other, *flags).splitlines()
    assert lines[0] == "user 3" and lines[1].split() == [str(finished), str(other)]
    for rank in range(4):
        first, second = rows[finished][0][rank], rows[other][0][rank]
        expected = [str(rank + 1), str(first[0]), f"{first[1]:.4f}", str(second[0]), f"{second[1]:.4f}"]
        assert lines[2 + rank].split() == expected
    common = {item for item, _ in rows[finished][0]} & {item for item, _ in rows[other][0]}
    assert lines[6].strip() == f"{len(common)} of 4 items are in every list"


def test_a_user_whom_one_of_the_runs_does_not_know(finished, training, command, tmp_path):
    rows = [f"{user},{item}" for user, item, _ in interactions()] + [f"newcomer,{item}" for item in range(9)]
    (tmp_path / "more.csv").write_text("user,item\n" + "\n".join(rows))
    assert training("--dataset", tmp_path / "more.csv", "--model", "lightgcn", "--output", "more").status == 0
    outcome = command(
        "recommend", finished, "more", "--user", "newcomer", "--user", 5, "--unknown", "skip", "--format", "json"
    )
    assert outcome.status == 0 and "newcomer" in outcome.err
    answers = {answer["user"]: answer["runs"] for answer in json.loads(outcome.out)}
    assert [len(one["items"]) for one in answers["newcomer"]] == [0, 10]
    assert [len(one["items"]) for one in answers[5]] == [10, 10]
    assert "newcomer" in command("recommend", finished, "more", "--user", "newcomer", "--unknown", "skip").out
    assert len(json.loads(command("recommend", finished, "more", "--all-users", "--format", "json").out)) == USERS + 1
    outcome = command("recommend", finished, "more", "--user", "newcomer")
    assert outcome.status == 2 and "user newcomer: not in the data" in outcome.err
