"""A training from end to end in each precision: seconds of its epochs and evaluations, and the Recall it gets to."""

from __future__ import annotations

import json

import pytest

from mde_fast.runs.config import make_config
from mde_fast.runs.life import start_run

DATASET = "clothing"
TOLERANCE = 0.05  # of Recall@20, relative to float32's after so few epochs


@pytest.fixture(scope="module")
def recalls() -> dict[str, float]:
    """Precision -> Recall@20 of the last epoch, of the precisions before."""
    return {}


@pytest.mark.parametrize("precision", ("fp32", "tf32", "bf16"))
def test_training_in_a_precision(benchmark, request, tmp_path, device, recalls, precision):
    if precision == "tf32" and device.type == "cpu":
        pytest.skip("tf32 is a GPU's")
    epochs, slow = request.config.getoption("--epochs"), {"slow_precision": True} if device.type == "cpu" else {}
    options = {"dataset": DATASET, "data_dir": request.config.getoption("--data-dir"), "device": str(device)}
    config = make_config({**options, **slow, "precision": precision, "epochs": epochs, "feature_rank": "full"})
    result = benchmark.pedantic(start_run, args=(config, tmp_path / precision), rounds=1)
    history = [json.loads(row) for row in (tmp_path / precision / "metrics.jsonl").read_text().splitlines()]
    assert len(history) == epochs
    recalls[precision] = history[-1]["valid"]["recall@20"]
    benchmark.extra_info.update(
        dataset=DATASET,
        data=result["data"],
        precision=precision,
        first_epoch_seconds=history[0]["seconds"],
        epoch_seconds=min(row["seconds"] for row in history),
        evaluation_seconds=min(row["seconds_evaluation"] for row in history),
        loss=[row["loss"] for row in history],
        recall_at_20=[row["valid"]["recall@20"] for row in history],
    )
    first, last = history[0], history[-1]
    assert last["loss"] < first["loss"], "nothing was learned"
    assert recalls[precision] == pytest.approx(recalls["fp32"], rel=TOLERANCE)
