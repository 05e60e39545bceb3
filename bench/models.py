"""``python -m bench.models --dataset baby``: a training step and an evaluation of every model, beside MMRec's own.

A step is negatives, forward, backward and Adam on a batch of 2,048; an evaluation is embeddings and the metrics of all
validation users. With ``--mmrec DIR``, a checkout of https://github.com/enoche/MMRec, its own trainer does both in a
process of its own on the same data (:mod:`bench.mmrec`), and the two take turns, so that a machine's moods meet both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mde_fast import __version__, make_config
from mde_fast.data.dataset import InteractionDataset
from mde_fast.files import Checkpoints, Folder
from mde_fast.kernels import random_bits
from mde_fast.models import find_model, model_names
from mde_fast.report.honesty import is_stand_in, remark
from mde_fast.runs.assemble import make_dataset, make_device, make_model
from mde_fast.runs.presets import find_preset
from mde_fast.training.trainer import Trainer

from .timing import most_memory

MMREC = ("LightGCN", "VBPR", "MMGCN", "GRCN", "DualGNN", "SLMRec", "BM3", "FREEDOM", "DRAGON")
THEIRS = {name.lower(): name for name in MMREC}
COLUMNS = ("model", "step", "MMRec", "times", "evaluation", "MMRec", "times", "memory", "MMRec")


class Ours:
    """This package's training, in this process."""

    def __init__(self, model: str, dataset: str, data_dir: str | None):
        preset = find_preset(dataset, model=model).options
        options = {**preset, "model": model, "dataset": dataset, "data_dir": data_dir, "device": "cpu"}
        config = make_config(options)
        self.dataset = make_dataset(config)
        device = make_device(config.training)
        self.folder = tempfile.TemporaryDirectory()
        self.trainer = Trainer(
            make_model(config, self.dataset, device),
            self.dataset,
            Checkpoints(Folder(self.folder.name)),
            training=config.training,
            evaluation=config.evaluation,
            kept={},
        )
        self.next = self.trainer.step.steps
        self.batch_size = config.training.train_batch_size

    def step(self) -> float:
        """Milliseconds of a step on a full batch; what begins an epoch is not counted."""
        trainer = self.trainer
        if self.next >= trainer.step.steps - 1:  # the last one is short
            trainer.model.begin_epoch(trainer.generator)
            order = torch.randperm(len(trainer.users), generator=trainer.generator)
            users = trainer.users[order]
            trainer.step.begin_epoch(users, trainer.items[order], random_bits(users, trainer.generator))
            self.next = 0
        took = _milliseconds(lambda: trainer.step(self.next))
        self.next += 1
        return took

    def evaluate(self) -> float:
        return _milliseconds(lambda: self.trainer.evaluator(*self.trainer.model.embeddings(), "valid"))


class Theirs:
    """MMRec's training, in another process."""

    def __init__(self, model: str, source: Path, data: Path, threads: int):
        words = ["--mmrec", str(source), "--model", THEIRS[model], "--data", str(data), "--threads", str(threads)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.mmrec", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self._answer()

    def step(self) -> float:
        return self._ask("step")[0]

    def evaluate(self) -> float:
        return self._ask("evaluate")[0]

    def memory(self) -> float:
        return self._ask("memory")

    def close(self) -> None:
        self.process.communicate()

    def _ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"MMRec ended: {self.process.communicate()[1].splitlines()[-1]}")
        return json.loads(line)


def measure(model: str, given: argparse.Namespace, data: Path | None) -> dict[str, Any]:
    """Milliseconds of steps and evaluations of a model, ours and MMRec's in turns, and the memory of both processes."""
    ours = Ours(model, given.dataset, given.data_dir)
    theirs = Theirs(model, given.mmrec, data, given.threads) if data is not None and model in THEIRS else None
    sides = {"ours": ours} | ({"theirs": theirs} if theirs else {})
    result: dict[str, Any] = {"model": model, "batch_size": ours.batch_size}
    for kind, times in (("step", given.steps), ("evaluate", given.evaluations)):
        for side in sides.values():
            getattr(side, kind)()  # what the first one prepares is not counted
        turns = [{name: getattr(side, kind)() for name, side in sides.items()} for _ in range(times)]
        result[kind] = {name: [turn[name] for turn in turns] for name in sides}
    if theirs:
        result["memory"] = {"theirs": theirs.memory()}
        theirs.close()
    return result


def measure_apart(model: str, given: argparse.Namespace, data: Path | None) -> dict[str, Any]:
    """:func:`measure` in a process of its own, so that its memory is that model's."""
    words = [sys.executable, "-m", "bench.models", *sys.argv[1:], "--models", model, "--one"]
    ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "BENCH_DATA": str(data or "")})
    if ended.returncode:
        raise SystemExit(f"{model}: {ended.stderr.splitlines()[-1]}")
    return json.loads(ended.stdout.splitlines()[-1])


def mmrec_folder(dataset: InteractionDataset, folder: Path) -> Path:
    """The dataset in MMRec's form, whatever it was read from."""
    place = folder / "baby"  # a name that MMRec has a configuration of
    place.mkdir()
    lines = ["userID\titemID\tx_label"]
    for label, split in enumerate((dataset.train, dataset.valid, dataset.test)):
        lines += [f"{user}\t{item}\t{label}" for user, item in zip(split.users.tolist(), split.items.tolist())]
    (place / "baby.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, matrix in dataset.features.items():
        np.save(place / f"{name}_feat.npy", matrix)
    return place


def row(result: dict[str, Any]) -> list[str]:
    """A line of the table: medians, with quartiles for the steps."""
    cells = [find_model(result["model"]).title.split(" (")[0].split(":")[0]]
    for kind in ("step", "evaluate"):
        sides = result[kind]
        medians = {name: statistics.median(values) for name, values in sides.items()}
        for name in ("ours", "theirs"):
            cells.append(_shown(sides[name], kind == "step") if name in sides else "-")
        cells.append(f"{medians['theirs'] / medians['ours']:.1f}" if "theirs" in sides else "-")
    return [
        *cells,
        *(f"{result['memory'][name]:,.0f}" if name in result["memory"] else "-" for name in ("ours", "theirs")),
    ]


def _shown(values: list[float], quartiles: bool) -> str:
    low, median, high = np.percentile(values, (25, 50, 75))
    return f"{median:,.0f}" + (f" ({low:,.0f}-{high:,.0f})" if quartiles else "")


def _milliseconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="baby", help="as for training (default: baby)")
    parser.add_argument("--data-dir", help="where dataset folders are")
    parser.add_argument("--mmrec", type=Path, metavar="DIR", help="checkout of MMRec to measure beside")
    parser.add_argument("--models", default=",".join(model_names()), help="which, with commas (default: all)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both (default: all cores)")
    parser.add_argument("--steps", type=int, default=15, help="of each (default: 15)")
    parser.add_argument("--evaluations", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--output", type=Path, help="keep all times in this JSON file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # inside the process of a model
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        folder = os.environ.get("BENCH_DATA")
        result = measure(given.models, given, Path(folder) if folder else None)
        print(json.dumps(result | {"memory": {"ours": most_memory(), **result.get("memory", {})}}))
        return
    dataset = make_dataset(make_config({"dataset": given.dataset, "data_dir": given.data_dir}))
    print(*dataset.statistics(), sep="\n")
    if is_stand_in(dataset.data):
        print(remark(dataset.data))
    print(f"{_processor()}, {given.threads} threads, torch {torch.__version__}, mde_fast {__version__}")
    print("ms of a step and of an evaluation, median (quartiles), in turns; MiB that a process held at most")
    if given.mmrec:
        print(
            "MMRec ranks MMGCN, GRCN, DualGNN, DRAGON and SLMRec from what their last training step left; here it is anew"
        )
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        data = mmrec_folder(dataset, Path(folder)) if given.mmrec else None
        for model in given.models.split(","):
            results.append(measure_apart(model, given, data))
            print("| " + " | ".join(row(results[-1])) + " |", flush=True)
    if given.output:
        about = {"dataset": dataset.name, "data": dataset.data, "processor": _processor(), "threads": given.threads}
        versions = {"torch": torch.__version__, "mde_fast": __version__, "date": time.strftime("%Y-%m-%d")}
        given.output.write_text(
            json.dumps({**about, **versions, "results": results}, indent=1) + "\n", encoding="utf-8"
        )


def _processor() -> str:
    """Its name and the vector extensions that matter here."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "")
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX"}
    extensions = ", ".join(label for flag, label in known.items() if f" {flag}" in text) or "no AVX2"
    return f"{name or platform.machine()} ({extensions}; PyTorch uses {torch.backends.cpu.get_cpu_capability()})"


if __name__ == "__main__":
    main()
