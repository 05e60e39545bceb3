"""``python -m mde_fast.train``: train a model, keep its checkpoints, report its test metrics."""

from __future__ import annotations

from .commands import chosen_model, collect_options, make_parser, parse, resolve, run_command
from .errors import InputError
from .runs.life import resume_run, start_run
from .runs.presets import for_large_data
from .runs.run import RunFolder
from .world import World, opened

EPILOG = """examples:
  python -m mde_fast.train --dataset clothing --minutes 4
  python -m mde_fast.train --dataset data/my_shop --features image=clip.npy,text=bert.npy --output runs/shop
  python -m mde_fast.train --dataset purchases.csv --split temporal --require-real
  python -m mde_fast.train --resume runs/shop --epochs 200
  torchrun --nproc-per-node 4 -m mde_fast.train --model lightgcn --dataset shop --output runs/shop  # docs/scale.md

An option that is not given has the value of the model's preset for the dataset or, failing that, the default named
above. Shown are the options of one model: --model NAME --help shows those of another.
"""


def main(arguments: list[str]) -> int:
    with opened() as world:
        return _main(arguments, world)


def _main(arguments: list[str], world: World) -> int:
    parser = make_parser(
        "train", "Train a multi-modal recommender and report its test metrics at the best validation epoch.", EPILOG
    )
    parser.usage = "%(prog)s [--dataset NAME] [--output RUN] [option ...]\n       %(prog)s --resume RUN [--epochs N]"
    parser.add_argument("--output", metavar="RUN", help="run folder to make (default: runs/DATASET-MODEL-DATE)")
    parser.add_argument("--resume", metavar="RUN", help="continue this run; --epochs may raise its limit")
    models = (_model(arguments),)
    parsed = parse(parser, arguments, ("output", "resume"), models)
    given = collect_options(parsed, models)
    if parsed.output == "":
        raise InputError("--output: is empty; name the run folder to make, or leave --output out")
    if parsed.resume is not None:
        if parsed.output is not None:
            raise InputError("--output: a resumed run stays in its folder; leave --output out")
        if parsed.preset is not None:
            raise InputError("--preset: a resumed run keeps its options; leave --preset out")
        result = resume_run(parsed.resume, given.options, world=world)
    else:
        preset, config = resolve(given, parsed.preset)
        if world.may_restart and parsed.output is None:
            raise InputError("--max-restarts: needs --output, the folder that a new start goes on with; name one")
        if world.restarts and world.has_begun(parsed.output):
            result = resume_run(parsed.output, {"minutes": config.training.minutes}, world=world)
            return 130 if result["status"] == "interrupted" else 0
        large = for_large_data(preset, given.options) if parsed.preset is None else None
        result = start_run(config, parsed.output, notes=(preset.describe(given.options),), large=large, world=world)
    return 130 if result["status"] == "interrupted" else 0


def _model(arguments: list[str]) -> str:
    """Whose options the command line has: those of the run that goes on, else those of the model that it chooses."""
    resumed = [value for flag, value in zip(arguments, arguments[1:]) if flag == "--resume"]
    resumed += [argument.partition("=")[2] for argument in arguments if argument.startswith("--resume=")]
    if resumed and RunFolder(resumed[-1]).has("config.yaml"):
        return RunFolder(resumed[-1]).config().model
    return chosen_model(arguments)


if __name__ == "__main__":
    run_command(main, processes=True)
