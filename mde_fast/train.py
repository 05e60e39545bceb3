"""``python -m mde_fast.train``: train a model, keep its checkpoints, report its test metrics."""

from __future__ import annotations

from .commands import add_options, add_preset, collect_options, make_parser, normalise_flags, run_command
from .errors import InputError
from .runs.config import default_of, make_config
from .runs.life import resume_run, start_run
from .runs.presets import find_preset

EPILOG = """examples:
  python -m mde_fast.train --dataset clothing
  python -m mde_fast.train --dataset data/my_shop --features image=clip.npy,text=bert.npy --output runs/shop
  python -m mde_fast.train --dataset purchases.csv --split temporal --require-real
  python -m mde_fast.train --resume runs/shop --epochs 200

An option that is not given has the value of the dataset's preset or, failing that, the default named above.
"""


def main(arguments: list[str]) -> int:
    parser = make_parser(
        "train", "Train a multi-modal recommender and report its test metrics at the best validation epoch.", EPILOG
    )
    parser.usage = "%(prog)s [--dataset NAME] [--output RUN] [option ...]\n       %(prog)s --resume RUN [--epochs N]"
    parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags win over it")
    add_preset(parser)
    parser.add_argument("--output", metavar="RUN", help="run folder to make (default: runs/DATASET-MODEL-DATE)")
    parser.add_argument("--resume", metavar="RUN", help="continue this run; --epochs may raise its limit")
    add_options(parser)
    parsed = parser.parse_args(normalise_flags(arguments, own=("config", "preset", "output", "resume", "help")))
    options = collect_options(parsed, parsed.config)
    if parsed.output == "":
        raise InputError("--output: is empty; name the run folder to make, or leave --output out")
    if parsed.resume is not None:
        if parsed.output is not None:
            raise InputError("--output: a resumed run stays in its folder; leave --output out")
        if parsed.preset is not None:
            raise InputError("--preset: a resumed run keeps its options; leave --preset out")
        result = resume_run(parsed.resume, options)
    else:
        dataset, model = (options.get(name, default_of(name)) for name in ("dataset", "model"))
        preset = find_preset(dataset, parsed.preset, model=model)
        config = make_config({**preset.options, **options})
        result = start_run(config, parsed.output, notes=(preset.describe(options),))
    return 0 if result["status"] == "finished" else 130


if __name__ == "__main__":
    run_command(main)
