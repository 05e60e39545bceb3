"""``python -m mde_fast.recommend RUN --user ID``: a trained model's recommendations."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .commands import make_parser, run_command
from .errors import InputError
from .ranking.blocks import Block
from .ranking.list_files import list_file, write_lists
from .ranking.printed import FORMATS, List, print_lists, print_side_by_side
from .ranking.recommender import CANDIDATES, FILTERS, UNKNOWN, Recommender

EPILOG = """examples:
  python -m mde_fast.recommend runs/baby --user 17 --k 10
  python -m mde_fast.recommend runs/baby --all-users --k 20 --output recommendations.parquet
  python -m mde_fast.recommend runs/baby --all-users --items-file in_stock.txt --unknown skip --format csv > stock.csv
  python -m mde_fast.recommend runs/baby --item 42
  python -m mde_fast.recommend runs/baby-mde runs/baby-lightgcn --user 17      # their lists beside each other
  python -m mde_fast.recommend runs/baby --all-users --k 50 --filter-seen train --candidates all --format csv > test.csv
                                         # the rankings that metrics.json measured on the test interactions
"""


def main(arguments: list[str]) -> None:
    parsed = _parser().parse_args(arguments)
    if parsed.include_seen and parsed.filter_seen not in (None, "none"):
        raise InputError(f"--include-seen and --filter-seen {parsed.filter_seen}: give one of the two")
    if bool(parsed.user or parsed.users_file or parsed.all_users) == bool(parsed.item):
        raise InputError("name users (--user, --users-file, --all-users) or items (--item), one of the two; see --help")
    output = None
    if parsed.output:
        output = list_file(parsed.output)
        if parsed.format:
            raise InputError("--output and --format: the ending of --output says the form; give one of the two")
        if len(parsed.run) > 1:
            raise InputError("--output: takes one run; write a file for each")
    named = list(parsed.user or []) + (_read_ids(parsed.users_file, "user") if parsed.users_file else [])
    lists = {
        name: None if path is None else _read_ids(path, "item")
        for name, path in (("items", parsed.items_file), ("exclude", parsed.exclude_file))
    }
    recommenders = [Recommender.load(run) for run in parsed.run]
    subjects = parsed.item or _users(recommenders, named, parsed.all_users)
    kind = "item" if parsed.item else "user"
    if output:
        (recommender,) = recommenders
        ids = list(recommender.item_ids if parsed.item else recommender.user_ids)
        if parsed.unknown == "popular" and not parsed.item:
            ids += map(recommender.user_id, recommender.unknown_users(subjects))
        blocks = _blocks(recommender, subjects, parsed, lists)
        count, rows = write_lists(output, blocks, kind, subjects=ids, items=recommender.item_ids)
        print(f"{output}: {count:,} {kind}s, {rows:,} rows")
        return
    form = parsed.format or "text"
    answers = [_answers(recommender, subjects, parsed, lists) for recommender in recommenders]
    if len(answers) == 1:
        print_lists(kind, [answer for answer in answers[0] if answer is not None], form)
        return
    together = []
    for found in zip(*answers):
        names = [answer[0] for answer in found if answer is not None]
        if names:
            together.append((names[0], [answer[1] if answer else [] for answer in found]))
    print_side_by_side(kind, parsed.run, together, form)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("recommend", "Recommend items to users, or find items similar to an item.", EPILOG)
    parser.add_argument("run", metavar="RUN", nargs="+", help="run folder of a training; of several, side by side")
    parser.add_argument("--user", metavar="ID", action="append", help="user id as in your data; may be repeated")
    parser.add_argument("--users-file", metavar="FILE", help="user ids, one a line")
    parser.add_argument("--all-users", action="store_true", help="every user of the dataset")
    parser.add_argument("--item", metavar="ID", action="append", help="items similar to this one; may be repeated")
    parser.add_argument("--k", metavar="N", type=int, default=10, help="how many items (default: 10)")
    parser.add_argument("--format", choices=FORMATS, help="of what is printed (default: text)")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write a file that ends in .parquet, .csv or .jsonl instead of printing, some users at a time; it is "
        "there whole or not at all",
    )
    parser.add_argument("--items-file", metavar="FILE", help="item ids, one a line: these candidates alone")
    parser.add_argument("--exclude-file", metavar="FILE", help="item ids, one a line: never these")
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
        help="ids that the model knows nothing of: an error, the most popular items, or none; such ids in files of "
        "items are an error or passed over (default: refuse; skip with --all-users)",
    )
    return parser


def _users(recommenders: list[Recommender], named: list[str], everyone: bool) -> list[Any]:
    """Those who were named, or everyone whom one of the runs has."""
    if not everyone:
        return named
    return list({str(user): user for recommender in recommenders for user in recommender.user_ids}.values())


def _blocks(
    recommender: Recommender, subjects: list[Any], parsed: argparse.Namespace, lists: dict[str, list[str] | None]
) -> Iterator[Block]:
    unknown = parsed.unknown or ("skip" if parsed.all_users else "refuse")
    choices = {"candidates": parsed.candidates, "unknown": unknown, "exclude": lists["exclude"]}
    if parsed.item:
        return recommender.similar_in_blocks(subjects, parsed.k, among=lists["items"], **choices)
    filter_seen = "none" if parsed.include_seen else parsed.filter_seen or "all"
    return recommender.recommend_in_blocks(subjects, parsed.k, filter_seen=filter_seen, items=lists["items"], **choices)


def _answers(
    recommender: Recommender, subjects: list[Any], parsed: argparse.Namespace, lists: dict[str, list[str] | None]
) -> list[tuple[Any, List] | None]:
    """Id and list of each subject; None for those whom nothing is known of."""
    answers = []
    for block in _blocks(recommender, subjects, parsed, lists):
        named = zip(block.subjects, recommender.named(block), block.skipped.tolist())
        answers += [None if skipped else (subject, row) for subject, row, skipped in named]
    return answers


def _read_ids(path: str, kind: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a text file with one {kind} id a line") from None
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: no {kind} ids in it; write one a line")
    return ids


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the recommendations
