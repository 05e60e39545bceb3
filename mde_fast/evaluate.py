"""``python -m mde_fast.evaluate RUN``: the metrics of a trained model."""

from __future__ import annotations

import json
import logging

from .commands import make_parser, run_command
from .options import convert
from .ranking.evaluator import format_metrics
from .ranking.options import EvaluationOptions
from .runs.life import evaluate_run


def main(arguments: list[str]) -> None:
    parser = make_parser(
        "evaluate", "Rank the whole catalogue for every user of validation and test, and print the metrics."
    )
    parser.add_argument("run", metavar="RUN", help="run folder of a training")
    parser.add_argument("--topk", metavar="K,K,...", help="cut-offs (default: those of the run)")
    parser.add_argument("--data-dir", metavar="DIR", help="where dataset folders are, when they have moved")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parsed = parser.parse_args(arguments)
    topk = convert(EvaluationOptions.schema()["topk"], parsed.topk, "--topk") if parsed.topk else ()
    result = evaluate_run(parsed.run, topk=topk, data_dir=parsed.data_dir)
    if parsed.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['model']} on {result['dataset']} ({result['data']}), best epoch {result['best_epoch']}")
    for part in ("valid", "test"):
        print(f"\n{part}\n{format_metrics(result[part], result['topk'])}")


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)  # stdout is for the metrics
