"""How long a training step should take on a GPU, added up from what its kernels move and compute.

``python -m bench.roofline --kind h100 --dataset clothing``, or a size of one's own; no GPU is needed. It is a
prediction: docs/roofline.md says what it is made of and what it leaves out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data_sheets import GPUS, Ceilings, Prediction, predict
from bench.launches import Launch, launches_of
from bench.occupancy import resident
from bench.sizes import make_step, of_counts, of_dataset
from mde_fast.models import find_model, model_names
from mde_fast.runs.config import make_config

PREDICTED = "A PREDICTION from formulas and published ceilings, NOT a measurement: nothing ran on a GPU."
COLUMNS = ("kernel", "calls", "kernels", "MB", "MB memory", "GFLOP", "us", "bound")


@dataclass(frozen=True)
class Row:
    """All launches of one name; bytes, operations and seconds are sums, ``bound`` holds back most of the seconds."""

    name: str
    calls: int
    kernels: int
    bytes: float
    memory: float
    operations: float
    seconds: float
    bound: str


@dataclass(frozen=True)
class Step:
    """A predicted step.

    Attributes:
        rows: by seconds, the longest first.
        captured: seconds as a CUDA graph, with the gaps between its nodes.
        launched: seconds when it is launched kernel by kernel, none of them shorter than a launch.
    """

    rows: tuple[Row, ...]
    kernels: int
    captured: float
    launched: float


def predict_step(launches: Sequence[Launch], gpu: Ceilings, *, compiled: bool = True) -> Step:
    """Times of all launches of :func:`bench.launches.launches_of`."""
    places = resident([launch.source for launch in launches if launch.source], gpu, compiled=compiled)
    found: dict[str, list[tuple[Launch, Prediction]]] = {}
    for launch in launches:
        place = places[repr(launch.source)] if launch.source else 1
        prediction = predict(launch.work, gpu, programs=launch.programs, resident=place)
        found.setdefault(launch.name, []).append((launch, prediction))
    rows = sorted((_row(name, pairs, gpu) for name, pairs in found.items()), key=lambda row: -row.seconds)
    kernels = sum(row.kernels for row in rows)
    pairs = [pair for each in found.values() for pair in each]
    launched = sum(max(each.seconds, launch.kernels * gpu.launch) for launch, each in pairs)
    return Step(tuple(rows), kernels, sum(row.seconds for row in rows), launched)


def _row(name: str, pairs: list[tuple[Launch, Prediction]], gpu: Ceilings) -> Row:
    """Each kernel's gap is counted as time of its own."""
    bounds: dict[str, float] = {}
    for launch, each in pairs:
        bounds[each.bound] = bounds.get(each.bound, 0) + each.seconds + launch.kernels * gpu.gap
    return Row(
        name,
        calls=len(pairs),
        kernels=sum(launch.kernels for launch, _ in pairs),
        bytes=sum(launch.work.bytes for launch, _ in pairs),
        memory=sum(each.memory for _, each in pairs),
        operations=sum(launch.work.operations for launch, _ in pairs),
        seconds=sum(bounds.values()),
        bound=max(bounds, key=lambda bound: bounds[bound]),
    )


def as_text(step: Step, title: str, measured: dict[str, float] | None = None) -> str:
    """The table; microseconds that a profiler measured stand beside those of the kernels that it names alike."""
    measured = measured or {}
    lines = [title, PREDICTED, ""]
    heads = (*COLUMNS, "measured us") if measured else COLUMNS
    lines.append(f"{heads[0]:34}" + "".join(f"{head:>12}" for head in heads[1:]))
    for row in step.rows:
        numbers = f"{row.calls:12}{row.kernels:12}{row.bytes / 1e6:12.2f}{row.memory / 1e6:12.2f}"
        numbers += f"{row.operations / 1e9:12.3f}{row.seconds * 1e6:12.1f}{row.bound:>12}"
        beside = f"{measured[row.name]:12.1f}" if row.name in measured else ""
        lines.append(f"{row.name:34}{numbers}{beside}")
    lines += [
        "",
        f"captured as a CUDA graph: {step.captured * 1e6:,.0f} us predicted, {step.kernels} kernels",
        f"launched one by one:      {step.launched * 1e6:,.0f} us predicted, at least",
    ]
    if measured:
        others = {name: time for name, time in measured.items() if name not in {row.name for row in step.rows}}
        lines.append(f"measured: {sum(measured.values()):,.0f} us, of which {sum(others.values()):,.0f} of other names")
    return "\n".join(lines)


def as_json(step: Step, title: str, measured: dict[str, float] | None = None) -> dict:
    """The same for machines, times in microseconds; ``measured`` is None for a name that a profiler has not seen."""
    rows = [
        {
            **{"kernel": row.name, "calls": row.calls, "kernels": row.kernels, "bytes": row.bytes},
            **{"memory_bytes": row.memory, "operations": row.operations, "bound": row.bound},
            **{"predicted_us": row.seconds * 1e6, "measured_us": (measured or {}).get(row.name)},
        }
        for row in step.rows
    ]
    sums = {"captured_us": step.captured * 1e6, "launched_us": step.launched * 1e6, "kernels": step.kernels}
    return {"title": title, "is": PREDICTED, **sums, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.roofline", description=__doc__)
    parser.add_argument("--kind", choices=sorted(GPUS), default="h100", help="whose ceilings")
    parser.add_argument("--model", choices=model_names(), default="mde")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="of the towers' products")
    parser.add_argument("--dataset", help="its interactions and widths; a stand-in where there is none")
    parser.add_argument("--data-dir", help="where datasets are; default as for training")
    parser.add_argument("--users", type=int, help="U, with --items and --interactions instead of --dataset")
    parser.add_argument("--items", type=int, help="I")
    parser.add_argument("--interactions", type=int, help="training interactions")
    parser.add_argument("--modalities", default="image,text", help="names of the features")
    parser.add_argument("--features", default="4096,384", help="width of each modality's features")
    parser.add_argument("--width", type=int, help="d, dimensions of an embedding; default: the model's")
    parser.add_argument("--batch", type=int, default=2048, help="triples of a step")
    parser.add_argument("--no-compile", action="store_true", help="occupancy without the kernels' registers")
    parser.add_argument("--measured", type=Path, help="JSON of a profiler: kernel -> microseconds in a step")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)

    counts = (given.users, given.items, given.interactions)
    if given.dataset is None and None in counts:
        parser.error("name a --dataset, or give --users, --items and --interactions")
    if given.dataset is not None:
        train, widths = of_dataset(given.dataset, given.data_dir)
    else:
        names, columns = given.modalities.split(","), [int(width) for width in given.features.split(",")]
        if len(names) != len(columns):
            parser.error(f"--modalities are {len(names)}, --features {len(columns)}")
        train, widths = of_counts(*counts), dict(zip(names, columns))
    options = {"model": given.model, "dataset": given.dataset or "drawn", "precision": given.precision}
    options["train_batch_size"] = given.batch
    if given.width is not None:
        if "embedding_size" not in find_model(given.model).Options.schema():
            parser.error(f"--width: {given.model} has no embedding_size")
        options["embedding_size"] = given.width
    batch = min(given.batch, train.nnz)
    gpu = GPUS[given.kind]
    step = predict_step(
        launches_of(make_step(make_config(options), train, widths), batch), gpu, compiled=not given.no_compile
    )
    features = ", ".join(f"{name} {width}" for name, width in widths.items())
    title = (
        f"{given.model} {given.precision} on {gpu.title}: {train.shape[0]:,} users, {train.shape[1]:,} items, "
        f"{train.nnz:,} interactions, features {features}, batch {batch:,}"
    )
    measured = json.loads(given.measured.read_text(encoding="utf-8")) if given.measured else None
    print(json.dumps(as_json(step, title, measured), indent=1) if given.json else as_text(step, title, measured))


if __name__ == "__main__":
    main()
