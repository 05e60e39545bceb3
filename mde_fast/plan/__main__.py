"""``python -m mde_fast.plan``: what a training would need on so many GPUs, before anyone pays for them."""

from __future__ import annotations

import argparse
import logging
import math

from ..commands import make_parser, run_command
from ..data_sheets import GPUS, Ceilings
from ..errors import InputError
from ..runs.config import Config, make_config
from ..training.progress import duration
from .formulas import FULL, Parts, memory, seconds, sent_per_step
from .layout import LAYOUTS, Layout, Sizes, layout_of

PREDICTED = "A PREDICTION from formulas and published ceilings, NOT a measurement (docs/scale.md)."
EPILOG = """examples:
  python -m mde_fast.plan --users 1e6 --items 91402 --interactions 9.1e6 --features 1024,768 --gpus 1 --kind h100
  python -m mde_fast.plan --users 1e9 --items 1e8 --interactions 1e11 --gpus 64 --kind h200 --model lightgcn
"""


def main(arguments: list[str]) -> None:
    parser = make_parser("plan", "Memory, messages and time of a training by several processes, predicted.", EPILOG)
    parser.add_argument("--users", required=True, metavar="N", help="users, such as 1e9")
    parser.add_argument("--items", required=True, metavar="N")
    parser.add_argument("--interactions", required=True, metavar="N", help="for training")
    parser.add_argument("--gpus", default="1", metavar="P", help="processes, a GPU each (default: 1)")
    parser.add_argument("--kind", choices=sorted(GPUS), default="h100", help="of GPU (default: h100)")
    parser.add_argument("--model", choices=tuple(LAYOUTS), default="mde", help="(default: mde)")
    parser.add_argument("--features", default="4096,384", metavar="F,F", help="columns of each modality's features")
    parser.add_argument("--embedding-size", metavar="N", help="d (default: the model's)")
    parser.add_argument("--batch", default="2048", metavar="N", help="triples of a step (default: 2048)")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="of towers' products")
    given = parser.parse_args(arguments)
    config, sizes = _of(given)
    print("\n".join(describe(config, sizes, _count("--gpus", given.gpus), given.kind)))


def _of(given: argparse.Namespace) -> tuple[Config, Sizes]:
    options = {"model": given.model, "precision": given.precision}
    if given.embedding_size is not None:
        options["embedding_size"] = given.embedding_size
    config = make_config(options)
    sizes = Sizes(
        *(_count(f"--{name}", getattr(given, name)) for name in ("users", "items", "interactions")),
        features=tuple(_count("--features", text) for text in given.features.split(",")),
        batch=_count("--batch", given.batch),
    )
    if given.model == "mde" and len(sizes.features) < 2:
        raise InputError("--features: mde needs two modalities or more; name their columns, such as 4096,384")
    return config, sizes


def _count(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number < math.inf or number != int(number):
        raise InputError(f"{name}: {text} must be a whole number of 1 or more, such as 250000 or 1e9")
    return int(number)


def describe(config: Config, sizes: Sizes, processes: int, kind: str) -> list[str]:
    """The lines that are printed.

    Raises:
        InputError: columns that cannot be dealt out to so many processes.
    """
    width = config.values()["embedding_size"]
    if width % processes:
        near = [number for number in range(1, width + 1) if width % number == 0]
        raise InputError(
            f"--gpus: {width} columns cannot be dealt out evenly to {processes} processes; choose one of "
            f"{', '.join(map(str, near))}, or another --embedding-size"
        )
    gpu, precision = GPUS[kind], config.training.precision
    layout = layout_of(config.model, config.hyper, sizes)
    held = memory(layout, sizes, processes, precision)
    step, evaluation = seconds(layout, sizes, processes, precision, gpu, sizes.users)
    steps = math.ceil(sizes.interactions / sizes.batch)
    lines = [
        f"{config.model} on {processes} x {gpu.title}: {sizes.users:,} users, {sizes.items:,} items, "
        f"{sizes.interactions:,} interactions, batch {sizes.batch:,}",
        PREDICTED,
        *_table("memory of a GPU", held, _bytes),
        *_table("sent by a GPU in a step", sent_per_step(layout, sizes, processes), _bytes),
        *_table("a step at the least", step, _seconds),
        f"an epoch: {steps:,} steps, {_seconds(steps * sum(step.values()))}; an evaluation of all users: "
        f"{_seconds(evaluation)}",
        *_fits(layout, sizes, processes, precision, gpu, width, held),
    ]
    return lines


def _fits(
    layout: Layout, sizes: Sizes, processes: int, precision: str, gpu: Ceilings, width: int, held: Parts
) -> list[str]:
    room = FULL * gpu.capacity
    possible = [number for number in range(1, width + 1) if width % number == 0]
    enough = [number for number in possible if sum(memory(layout, sizes, number, precision).values()) <= room]
    smallest = f"the smallest number of GPUs that fits is {enough[0]}" if enough else ""
    if sum(held.values()) <= room:
        return [f"fits: {_bytes(sum(held.values()))} of the {_bytes(room)} that a GPU has for it; {smallest}"]
    largest = max(held, key=lambda name: held[name])
    line = f"does NOT fit: {_bytes(sum(held.values()))} of {_bytes(room)}; the largest part is {largest}"
    if enough:
        return [f"{line}; {smallest}"]
    least = memory(layout, sizes, possible[-1], precision)
    alike = [name for name, size in least.items() if size > room / 2]
    return [
        f"{line}; no number of GPUs up to {width} (a column each) fits: {' and '.join(alike) or 'all together'} "
        "would have to be divided by rows as well"
    ]


def _table(title: str, parts: Parts, shown) -> list[str]:
    rows = [f"  {name:24}{shown(value):>12}" for name, value in sorted(parts.items(), key=lambda row: -row[1])]
    return [f"{title}: {shown(sum(parts.values()))}", *rows]


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB" if value < 999.5 else f"{value:,.0f} TB"


def _seconds(value: float) -> str:
    if value < 1e-3:
        return f"{value * 1e6:.3g} us"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 100 else duration(value)


if __name__ == "__main__":
    run_command(main, level=logging.WARNING)
