"""``python -m mde_fast.export RUN --output DIR``: a trained model's vectors, and an index, for other programs."""

from __future__ import annotations

import json
import logging

from .commands import make_parser, run_command
from .errors import InputError
from .files import Folder
from .files.places import user_path
from .ranking.recommender import CANDIDATES
from .ranking.vector_files import DESCRIPTION, export_vectors
from .ranking.vector_index import KINDS

EPILOG = """examples:
  python -m mde_fast.export runs/baby --output baby-vectors
  python -m mde_fast.export runs/baby --output baby-vectors --index hnsw --candidates content

files, float32; the inner product of a user's and an item's vector is the score:
  user_vectors.npy, item_vectors.npy            a row each
  user_vectors.parquet, item_vectors.parquet    columns id and vector, in the same order
  items.faiss                                   faiss.read_index(...).search(user_vectors, k) names rows of items
  export.json                                   what is in them, and the index's recall against the exact ranking
"""


def main(arguments: list[str]) -> None:
    parser = make_parser("export", "Write user and item vectors, and an index that finds items by them.", EPILOG)
    parser.add_argument("run", metavar="RUN", help="run folder of a training")
    parser.add_argument("--output", metavar="DIR", required=True, help="folder to make")
    parser.add_argument(
        "--index",
        choices=KINDS,
        help="flat is exact, hnsw approximate and faster among very many items; both are faiss's, which the extra "
        "mde_fast[index] brings (default: flat if faiss is installed)",
    )
    parser.add_argument(
        "--candidates",
        choices=CANDIDATES,
        default="known",
        help="the index holds items with interactions, also those with content alone, or every row (default: known)",
    )
    parser.add_argument(
        "--k", metavar="N", type=int, default=20, help="the index is measured by lists of so many items (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parsed = parser.parse_args(arguments)
    if parsed.k < 1:
        raise InputError(f"--k: {parsed.k} must be 1 or more")
    output = user_path(parsed.output, "--output")
    result = export_vectors(Folder(parsed.run), output, index=parsed.index, candidates=parsed.candidates, k=parsed.k)
    if parsed.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    print(
        f"{output}: vectors of {result['users']:,} users and {result['items']:,} items, {result['width']} wide "
        f"({result['dataset']}, {result['data']}); {DESCRIPTION} describes them"
    )
    if "index" in result:
        index = result["index"]
        print(
            f"{output / index['file']}: {index['library']}, {index['kind']}, {index['items']:,} items; finds "
            f"{index['recall']:.4%} of the exact {index['k']} best items of {index['users_measured']:,} users"
        )


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the result
