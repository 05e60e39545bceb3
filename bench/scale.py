"""What a training by several processes sends, holds and takes, beside the plan's formulas.

    torchrun --nproc-per-node 2 -m bench.scale --users 200000 --items 50000 --interactions 2000000
    python -m bench.scale ...

Interactions are drawn. Bytes are counted, memory is the process's peak (VmHWM) beyond what it had before the model was
made, seconds are the median of the steps after the first. One line of JSON for each process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from bench.sizes import DrawnNeighbours, of_counts
from mde_fast.graphs import GraphCache
from mde_fast.kernels import NegativeTable, random_bits
from mde_fast.models import Inputs, find_model
from mde_fast.plan.formulas import memory, sent_per_step
from mde_fast.plan.layout import LAYOUTS, Sizes, layout_of
from mde_fast.runs.config import make_config
from mde_fast.training.memory import release_freed_memory
from mde_fast.training.step import TrainingStep
from mde_fast.world import World, opened


def kilobytes(entry: str) -> int:
    """``VmHWM``, the peak, or ``VmRSS``, what there is, of this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{entry}:\s+(\d+)", status)
    assert found
    return int(found[1])


def measure(world: World, given: argparse.Namespace) -> dict:
    config = make_config({"model": given.model, "train_batch_size": given.batch, "device": "cpu"})
    model_type = find_model(given.model)
    train = of_counts(given.users, given.items, given.interactions)
    widths = [int(width) for width in given.features.split(",")] if model_type.min_modalities else []
    rng = np.random.default_rng(1)
    features = {f"f{m}": rng.standard_normal((given.items, w), dtype=np.float32) for m, w in enumerate(widths)}
    graphs = DrawnNeighbours(train, features, GraphCache(None))
    release_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = kilobytes("VmRSS")
    model = model_type.build(
        config.hyper,
        Inputs(
            num_users=given.users,
            num_items=given.items,
            features={name: torch.from_numpy(matrix) for name, matrix in features.items()},
            graphs=graphs,
            precision="fp32",
            generator=torch.Generator().manual_seed(0),
            world=world,
        ),
    )
    pairs = train.tocoo()
    users, items = (torch.from_numpy(ids.astype(np.int64)) for ids in (pairs.row, pairs.col))
    del pairs, train
    negatives = NegativeTable.build(users, items, given.users, given.items)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    step = TrainingStep(model, optimizer, negatives, len(users), given.batch)
    model.begin_epoch(torch.Generator().manual_seed(0))
    step.begin_epoch(users, items, random_bits(users, torch.Generator().manual_seed(0)))
    release_freed_memory()
    built = kilobytes("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for number in range(given.steps):
        world.wait()
        sent, started = world.sent, time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - started)
        sent = world.sent - sent
    sizes = Sizes(given.users, given.items, len(users), tuple(widths), given.batch)
    layout = layout_of(given.model, config.hyper, sizes)
    peak = 1024 * (kilobytes("VmHWM") - before)
    return {
        **vars(given),
        "processes": world.size,
        "rank": world.rank,
        "threads": torch.get_num_threads(),
        "sent_bytes": sent,
        "sent_bytes_planned": sum(sent_per_step(layout, sizes, world.size).values()),
        "peak_bytes": peak,
        "peak_bytes_planned": sum(memory(layout, sizes, world.size, "fp32").values()),
        "peak_bytes_while_built": 1024 * (built - before),
        "seconds": statistics.median(seconds[1:]),
        "loss": float(step.parts[number].sum()),
        "cores": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--model", choices=tuple(LAYOUTS), default="lightgcn")
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--interactions", type=int, default=2_000_000)
    parser.add_argument("--features", default="128,64", help="columns of each modality, of a model that has them")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    small = argparse.Namespace(**{**vars(given), "users": 200, "items": 100, "interactions": 2000, "batch": 64})
    with opened() as world:
        measure(world, small)  # what libraries load at their first use is no part of a training's memory
        print(json.dumps(measure(world, given)), flush=True)


if __name__ == "__main__":
    main()
