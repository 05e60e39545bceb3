"""``python -m bench.recall_curves``: the same training with the fast operators and with the reference, side by side.

Both draw the same parameters, orders and negatives; only the order in which float32 sums are added up differs. Adam
divides by the root of a squared gradient, so a difference in the last bit of a small gradient can become one in the
first digit of a step: the curves are compared to a tolerance on recall, not bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from mde_fast.runs.config import make_config
from mde_fast.runs.life import start_run

TOLERANCE = 5e-4  # of recall: about ten of Baby's 19,445 users moving one held-out item across the cut-off


def recall_curve(implementation: str, options: dict, folder: Path) -> list[float]:
    """Validation recall@20 of every epoch under one implementation of the operators."""
    os.environ["MDE_FAST_IMPL"] = implementation
    start_run(make_config(options), folder / implementation)
    rows = (folder / implementation / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["valid"]["recall@20"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="baby")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fast", default="torch", help="implementation to compare: torch or triton")
    arguments = parser.parse_args()
    options = {name: getattr(arguments, name) for name in ("dataset", "data_dir", "epochs", "device")}
    with tempfile.TemporaryDirectory() as folder:
        curves = {name: recall_curve(name, options, Path(folder)) for name in (arguments.fast, "reference")}
    print(f"{'epoch':>5} {arguments.fast:>10} {'reference':>10} {'difference':>11}")
    worst = 0.0
    for epoch, (fast, slow) in enumerate(zip(*curves.values(), strict=True), 1):
        print(f"{epoch:>5} {fast:>10.5f} {slow:>10.5f} {fast - slow:>+11.5f}")
        worst = max(worst, abs(fast - slow))
    print(f"largest difference {worst:.5f}, tolerance {TOLERANCE}")
    if worst > TOLERANCE:
        raise SystemExit("error: the curves differ")


if __name__ == "__main__":
    main()
