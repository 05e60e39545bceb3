"""The number of kernels in a captured step of every model is what it was."""

import json

import pytest
import torch
from launches import FILE, counted, counted_models

pytest.importorskip("triton")
KEPT = json.loads(FILE.read_text())


@pytest.mark.parametrize("precision", ("fp32", "bf16"))
@pytest.mark.parametrize("model", counted_models())
def test_launches_of_a_step(model, precision):
    """A difference is a decision: ``python tests/models/launches.py`` writes the file anew."""
    kernels = counted(model, precision)
    assert kernels["draw_negatives_kernel"] == kernels["aten._fused_adam_"] == 1
    version = torch.__version__.partition("+")[0]
    if version != KEPT["torch"]:
        pytest.skip(f"the kept numbers are of torch {KEPT['torch']}: {version} may call other kernels of its own")
    expected = dict(KEPT["steps"][f"{model} {precision}"])
    assert sum(kernels.values()) == expected.pop("sum")
    assert kernels == expected


def test_what_a_gpu_does_otherwise_is_counted():
    """Gradients of weights in bf16 come out in float32: cast are weights and biases, a tower's result, its gradient."""
    assert counted("mde", "bf16")["aten._to_copy"] == 2 * (2 * 2 + 1 + 1)
