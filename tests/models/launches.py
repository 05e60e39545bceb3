"""How often each model's captured step launches each kernel, in a file that a test compares.

``python tests/models/launches.py`` writes it anew, after a change that was meant to launch more or fewer.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".json")
BATCH = 256


def counted(model: str, precision: str = "fp32") -> dict[str, int]:
    """Name of a kernel, or of a call of PyTorch's -> how many of them a step of a small dataset launches."""
    from bench.launches import launches_of
    from bench.sizes import make_step, of_counts
    from mde_fast.runs.config import make_config

    # Large enough that a few rows of the graphs are cut into pieces.
    train = of_counts(users=600, items=400, interactions=5000)
    config = make_config({"model": model, "dataset": "drawn", "precision": precision, "train_batch_size": BATCH})
    names: Counter[str] = Counter()
    for launch in launches_of(make_step(config, train, {"image": 40, "text": 24}), BATCH):
        names[launch.name] += launch.kernels
    return dict(sorted(names.items()))


def counted_models() -> list[str]:
    """Models with a step whose launches are kept."""
    from mde_fast.models import find_model, model_names

    return [name for name in model_names() if find_model(name).learns]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    models = {}
    for name in counted_models():
        for precision in ("fp32", "bf16"):
            kernels = counted(name, precision)
            models[f"{name} {precision}"] = {"sum": sum(kernels.values()), **kernels}
    FILE.write_text(json.dumps({"torch": torch.__version__.partition("+")[0], "steps": models}, indent=1) + "\n")


if __name__ == "__main__":
    main()
