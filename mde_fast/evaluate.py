"""``python -m mde_fast.evaluate RUN``: the metrics of a trained model."""

from __future__ import annotations

import json
import logging

from .commands import make_parser, run_command
from .errors import InputError
from .options import convert
from .ranking.beyond import format_beyond
from .ranking.evaluator import format_metrics
from .ranking.options import EvaluationOptions
from .runs.life import evaluate_run

EPILOG = """examples:
  python -m mde_fast.evaluate runs/baby --topk 5,10,20
  python -m mde_fast.evaluate runs/baby --beyond --groups 5,10,20     # docs/protocol.md defines every measure
"""


def main(arguments: list[str]) -> None:
    parser = make_parser(
        "evaluate", "Rank the whole catalogue for every user of validation and test, and print the metrics.", EPILOG
    )
    parser.add_argument("run", metavar="RUN", help="run folder of a training")
    parser.add_argument("--topk", metavar="K,K,...", help="cut-offs (default: those of the run)")
    parser.add_argument("--data-dir", metavar="DIR", help="where dataset folders are, when they have moved")
    parser.add_argument(
        "--beyond",
        action="store_true",
        help="also hit rate, MRR, coverage, Gini, novelty, popularity and tail share, and all by groups of users",
    )
    parser.add_argument(
        "--groups",
        metavar="N,N,...",
        help="with --beyond: the most train interactions of users in each group (default: quarters of the users)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parsed = parser.parse_args(arguments)
    topk = convert(EvaluationOptions.schema()["topk"], parsed.topk, "--topk") if parsed.topk else ()
    if parsed.groups and not parsed.beyond:
        raise InputError("--groups: groups are of what --beyond measures; give both")
    groups = _limits(parsed.groups) if parsed.groups else ()
    result = evaluate_run(parsed.run, topk=topk, data_dir=parsed.data_dir, beyond=parsed.beyond, groups=groups)
    if parsed.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['model']} on {result['dataset']} ({result['data']}), best epoch {result['best_epoch']}")
    for part in ("valid", "test"):
        print(f"\n{part}\n{format_metrics(result[part], result['topk'])}")
        if parsed.beyond:
            shown = 20 if 20 in result["topk"] else result["topk"][-1]
            print(f"\n{part}, beyond accuracy\n{format_beyond(result['beyond'][part], result['topk'], shown)}")


def _limits(text: str) -> tuple[int, ...]:
    try:
        limits = tuple(map(int, text.split(",")))
    except ValueError:
        limits = ()
    if not limits or min(limits) < 1 or list(limits) != sorted(set(limits)):
        raise InputError(f"--groups: {text!r} is no list of ascending whole numbers of 1 or more, such as 5,10,20")
    return limits


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the metrics
