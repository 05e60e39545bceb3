"""``python -m mde_fast.recommend RUN --user ID``: a trained model's recommendations."""

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

from .commands import make_parser, run_command
from .errors import InputError
from .ranking.recommender import CANDIDATES, FILTERS, UNKNOWN, Recommender

EPILOG = """examples:
  python -m mde_fast.recommend runs/baby --user 17 --k 10
  python -m mde_fast.recommend runs/baby --all-users --k 20 --format csv > recommendations.csv
  python -m mde_fast.recommend runs/baby --item 42
  python -m mde_fast.recommend runs/baby --all-users --k 50 --filter-seen train --candidates all --format csv > test.csv
                                         # the rankings that metrics.json measured on the test interactions
"""


def main(arguments: list[str]) -> None:
    parser = make_parser("recommend", "Recommend items to users, or find items similar to an item.", EPILOG)
    parser.add_argument("run", metavar="RUN", help="run folder of a training")
    parser.add_argument("--user", metavar="ID", action="append", help="user id as in your data; may be repeated")
    parser.add_argument("--users-file", metavar="FILE", help="user ids, one a line")
    parser.add_argument("--all-users", action="store_true", help="every user of the dataset")
    parser.add_argument("--item", metavar="ID", action="append", help="items similar to this one; may be repeated")
    parser.add_argument("--k", metavar="N", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text", help="(default: text)")
    parser.add_argument(
        "--filter-seen",
        choices=FILTERS,
        help="leave out all items that the user is known to have, those of the training split alone (as the metrics "
        "do), or none (default: all)",
    )
    parser.add_argument("--include-seen", action="store_true", help="the same as --filter-seen none")
    parser.add_argument(
        "--candidates",
        choices=CANDIDATES,
        default="known",
        help="recommend items with interactions, also those with content alone, or every row (default: known)",
    )
    parser.add_argument(
        "--unknown",
        choices=UNKNOWN,
        help="ids that the model knows nothing of: an error, the most popular items, or none "
        "(default: refuse; skip with --all-users)",
    )
    parsed = parser.parse_args(arguments)
    if parsed.include_seen and parsed.filter_seen not in (None, "none"):
        raise InputError(f"--include-seen and --filter-seen {parsed.filter_seen}: give one of the two")
    recommender = Recommender.load(parsed.run)
    users = list(parsed.user or [])
    if parsed.users_file:
        users += _read_ids(parsed.users_file)
    if parsed.all_users:
        users = recommender.user_ids
    if bool(users) == bool(parsed.item):
        raise InputError("name users (--user, --users-file, --all-users) or items (--item), one of the two; see --help")
    unknown = parsed.unknown or ("skip" if parsed.all_users else "refuse")
    if users:
        filter_seen = "none" if parsed.include_seen else parsed.filter_seen or "all"
        choices = {"filter_seen": filter_seen, "candidates": parsed.candidates, "unknown": unknown}
        rows = recommender.recommend(users, parsed.k, **choices)
        skipped = set(map(str, recommender.unknown_users(users) if unknown == "skip" else ()))
        answers = [(recommender.user_id(user), row) for user, row in zip(users, rows) if str(user) not in skipped]
        _print("user", answers, parsed.format)
    else:
        rows = recommender.similar_items(parsed.item, parsed.k, candidates=parsed.candidates, unknown=unknown)
        answers = [(recommender.item_id(item), row) for item, row in zip(parsed.item, rows) if row]
        _print("item", answers, parsed.format)


def _read_ids(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a text file with one user id a line") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: no user ids in it; write one a line")
    return ids


def _print(kind: str, answers: list[tuple[Any, list[tuple[Any, float]]]], form: str) -> None:
    """``answers`` holds, for each subject, (item, score) pairs, best first."""
    other = "similar_item" if kind == "item" else "item"
    if form == "json":
        answer = [
            {kind: subject, "items": [{"item": item, "score": score} for item, score in row]}
            for subject, row in answers
        ]
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([kind, "rank", other, "score"])
        for subject, row in answers:
            writer.writerows([subject, rank, item, f"{score:.6f}"] for rank, (item, score) in enumerate(row, 1))
    else:
        for subject, row in answers:
            print(f"{kind} {subject}")
            for rank, (item, score) in enumerate(row, 1):
                print(f"{rank:>4}  {item}  {score:.4f}")


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the recommendations
