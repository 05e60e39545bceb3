"""A training step and an evaluation of every model, beside MMRec's of the same name with ``--mmrec DIR``.

Either side is a process of its own with the same data, threads, batch size and embedding size, and they take turns.
What is done once an epoch (shuffling, pruned graphs, users' drawn neighbours) is in neither side's step.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from bench.report import MODEL_ROWS
from bench.timing import interleave
from bench.worker import Worker
from mde_fast.data import load_dataset
from mde_fast.models import find_model, model_names

DATASET = "baby"
# Ours -> MMRec's class, and of its grids the values that are our defaults and change the work.
RIVALS: dict[str, tuple[str, dict]] = {
    "mde": ("DRAGON", {}),  # the closest published relative: MMRec has no MDE
    "bm3": ("BM3", {"n_layers": 1, "dropout": 0.5}),
    "dragon": ("DRAGON", {}),
    "dualgnn": ("DualGNN", {}),
    "freedom": ("FREEDOM", {"dropout": 0.8}),
    "grcn": ("GRCN", {}),
    "lattice": ("LATTICE", {}),
    "lgmrec": ("LGMRec", {}),
    "lightgcn": ("LightGCN", {"n_layers": 2}),
    "mgcn": ("MGCN", {}),
    "mmgcn": ("MMGCN", {}),
    "slmrec": ("SLMRec", {}),
    "smore": ("SMORE", {}),
    "vbpr": ("VBPR", {}),
}
STEADY = 3  # steps before anything is measured: memory has been asked for, graphs are prepared


@pytest.fixture(scope="module")
def mmrec_data(request, tmp_path_factory):
    """A folder with the data set in MMRec's form, or None where nothing of MMRec's is measured."""
    if request.config.getoption("--mmrec") is None:
        return None
    if request.config.getoption("--device") != "cpu":
        pytest.skip("MMRec's models are measured on the CPU: give --device cpu")
    from mmrec_code import write_features, write_interactions

    dataset = load_dataset(DATASET, data_dir=request.config.getoption("--data-dir"))
    folder = tmp_path_factory.mktemp("mmrec")
    write_features(dataset, folder / DATASET)
    write_interactions(dataset, folder / DATASET / f"{DATASET}.inter")
    return folder


@pytest.mark.parametrize("name", [name for name in model_names() if find_model(name).learns])
def test_model_of_the_listing(benchmark, request, mmrec_data, device, seconds, name):
    option, threads = request.config.getoption, torch.get_num_threads()
    settings = {"model": name, "dataset": DATASET, "data_dir": option("--data-dir")}
    with ExitStack() as stack:
        ours = Worker("bench.our_model", {**settings, "device": str(device), "threads": threads})
        sides = {"mde_fast": stack.enter_context(ours)}
        if mmrec_data is not None and name in RIVALS:
            theirs, options = RIVALS[name]
            settings = {"source": str(Path(option("--mmrec")).resolve()), "folder": str(mmrec_data), "name": theirs}
            settings |= {"options": {"learning_rate": 1e-3, **options}, "threads": threads}
            sides[f"MMRec's {theirs}"] = stack.enter_context(Worker("bench.mmrec_model", settings))
        measured = {"step_ms": ("step", 4 * seconds), "evaluation_ms": ("evaluate", 2 * seconds)}
        for side in sides.values():
            for _ in range(STEADY):
                side.ask("step")
        info = {
            kind: {
                label: timing.as_dict()
                for label, timing in interleave(
                    {label: (lambda side=side: side.ask(what)) for label, side in sides.items()},
                    torch.device("cpu"),  # a worker answers when its device is done
                    seconds=share,
                ).items()
            }
            for kind, (what, share) in measured.items()
        }
        info["peak_bytes"] = {label: side.ask("peak") for label, side in sides.items()}
        info |= {"model": name, "dataset": DATASET, "data": ours.about["data"], "batch_size": ours.about["batch_size"]}
        info["about"] = {label: side.about for label, side in sides.items()}
        benchmark.extra_info.update(info)
        request.config.stash[MODEL_ROWS].append(info)
        benchmark.pedantic(ours.ask, args=("step",), rounds=3)
