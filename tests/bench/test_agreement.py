"""What disagrees with us is not timed, and we are not if everything does."""

import pytest
import torch

from bench.agreement import agreeing

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
VARIANTS = {"ours": lambda: 1, "same": lambda: 1, "other": lambda: 2, "refused": lambda: torch.ones(2) @ torch.ones(3)}


def check(name, run):
    assert run() == 1, f"{name} differs"


def test_others_are_left_out_on_a_gpu_and_named():
    kept, left_out = agreeing(VARIANTS, check, CUDA)
    assert list(kept) == ["ours", "same"] and list(left_out) == ["other", "refused"]
    assert left_out["other"] == "other differs" and "inconsistent" in left_out["refused"]


def test_on_a_cpu_they_are_errors():
    with pytest.raises(AssertionError, match="other differs"):
        agreeing(VARIANTS, check, CPU)


def test_nothing_agrees():
    with pytest.raises(AssertionError, match="nothing agrees with ours: .*other differs"):
        agreeing({name: VARIANTS[name] for name in ("ours", "other")}, check, CUDA)


def test_ours_is_wrong_by_itself():
    with pytest.raises(AssertionError, match="other differs"):
        agreeing({"other": VARIANTS["other"]}, check, CUDA)
