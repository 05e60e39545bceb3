"""A data set so small that a run takes a moment, and what it means for two runs to have the same result."""

import json
from pathlib import Path

import numpy as np
import torch

from mde_fast.runs.run import RunFolder

USERS, ITEMS = 60, 40
OPTIONS = {
    "dataset": "shop",
    "embedding_size": 8,
    "projection_hidden": 8,
    "train_batch_size": 64,
    "learning_rate": 0.01,
    "epochs": 6,
    "device": "cpu",
}
STEPS = 7  # of an epoch
# Without a preset, so that what is found for real data sets is no concern of these.
FLAGS = ["--preset=none", *(f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items())]
LIGHTGCN_FLAGS = ["--model=lightgcn", *(flag for flag in FLAGS if "projection" not in flag)]


def interactions() -> list[tuple[int, int, int]]:
    """(user, item, split): users like items near their own place on a ring, and a few others."""
    rng = np.random.default_rng(7)
    rows = []
    for user in range(USERS):
        near = (user * ITEMS // USERS + rng.permutation(14)[:6]) % ITEMS
        elsewhere = rng.permutation(np.setdiff1d(np.arange(ITEMS), near))[:3]
        liked = rng.permutation(np.concatenate([near, elsewhere]))
        rows += [(user, int(item), max(0, place - 6)) for place, item in enumerate(liked)]
    return rows


def features() -> dict[str, np.ndarray]:
    """Two modalities that show an item's place on the ring."""
    rng = np.random.default_rng(8)
    angle = 2 * np.pi * np.arange(ITEMS) / ITEMS
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return {
        name: (ring @ rng.standard_normal((2, width)) + rng.standard_normal((ITEMS, width)) / 3).astype(np.float32)
        for name, width in (("image", 16), ("text", 8))
    }


def write_shop(root: Path, *, with_features: bool = True) -> Path:
    """``root/shop`` in MMRec's form."""
    folder = root / "shop"
    folder.mkdir(parents=True)
    lines = ["userID\titemID\tx_label", *("\t".join(map(str, row)) for row in interactions())]
    (folder / "shop.inter").write_text("\n".join(lines) + "\n")
    if with_features:
        for name, matrix in features().items():
            np.save(folder / f"{name}_feat.npy", matrix)
    return folder


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def epoch_rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(values: dict) -> dict:
    return {name: value for name, value in values.items() if not name.startswith("seconds")}


def assert_same_result(run: Path, other: Path) -> None:
    """All that two runs keep is the same, bit for bit, except how long it took."""
    assert without_times(metrics(run)) == without_times(metrics(other))
    assert [without_times(row) for row in epoch_rows(run)] == [without_times(row) for row in epoch_rows(other)]
    for kind in ("best", "last"):
        state, tensors = RunFolder(run).checkpoints.load(kind)
        other_state, other_tensors = RunFolder(other).checkpoints.load(kind)
        assert state["epoch"] == other_state["epoch"]
        assert tensors.keys() == other_tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, other_tensors[name]), f"{kind}: {name}"


def files(run: Path) -> set[str]:
    """Every file of a run, relative to it."""
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
