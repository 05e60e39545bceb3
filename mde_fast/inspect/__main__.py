"""``python -m mde_fast.inspect RUN``: the preferences of a trained model made visible."""

from __future__ import annotations

import logging
from pathlib import Path

from ..commands import make_parser, run_command
from ..errors import InputError
from .nodes import inspect_run
from .report import write_inspection

EPILOG = """written into RUN/inspect:
  preferences.png, cosine.png   how preferences, and cosines between modalities, are distributed
  degree.png, recall.png        how they go with degree and with test recall@20
  inspect.html                  all of it on one page
  inspect.md, inspect.json      the same as tables and numbers, and the items whose modalities disagree most
  users.csv, items.csv          a row per node

example:
  python -m mde_fast.inspect runs/baby --k 20
"""


def main(arguments: list[str]) -> None:
    parser = make_parser("inspect", "Show which modality each user and item prefers, and what goes with it.", EPILOG)
    parser.add_argument("run", metavar="RUN", help="run folder of a training")
    parser.add_argument("--k", metavar="N", type=int, default=10, help="how many items to list (default: 10)")
    parser.add_argument("--output", metavar="DIR", help="where to write (default: RUN/inspect)")
    parser.add_argument("--data-dir", metavar="DIR", help="where dataset folders are, when they have moved")
    parsed = parser.parse_args(arguments)
    if parsed.k < 1:
        raise InputError(f"--k: {parsed.k} must be 1 or more")
    inspection = inspect_run(parsed.run, data_dir=parsed.data_dir)
    output = Path(parsed.output or Path(parsed.run) / "inspect")
    print(write_inspection(inspection, output, parsed.k))
    print(f"inspect.html, pictures and tables in {output}")


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the summary
