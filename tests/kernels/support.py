"""Running an operator as one implementation."""

from __future__ import annotations

import importlib.util
import os
from contextlib import contextmanager

import pytest
import torch
from operands import random

from mde_fast.kernels import dispatch, native


def _runs_here(implementation: str) -> bool:
    """Native kernels need to be compiled; Triton needs to be installed, and a GPU or its interpreter, which conftest.py
    chooses where there is no GPU."""
    if implementation == "native":
        return native.reason_unavailable() is None and not torch.cuda.is_available()
    if implementation != "triton":
        return True
    installed = importlib.util.find_spec("triton") is not None
    return installed and (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1")


# Every implementation but the ground truth is compared with it; a new one is picked up here by itself.
IMPLEMENTATIONS = tuple(name for name in dispatch.IMPLEMENTATIONS if name != "reference" and _runs_here(name))


@contextmanager
def forced(implementation: str):
    """Every operator inside runs as one implementation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDE_FAST_IMPL", implementation)
        yield


def evaluate(implementation: str, operator, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs and gradients of ``operator(**tensors)`` by name, each output with a random gradient of its own.

    A gradient that autograd leaves out is written as zeros.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    with forced(implementation):
        outputs = operator(**leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        differentiable = [(output, seed) for seed, output in enumerate(outputs) if output.requires_grad]
        gradients = [None] * len(leaves)
        if differentiable:
            # Numbers that every dtype has, so that the reference in float64 gets the same gradient.
            upstream = [
                random(*output.shape, seed=1000 + seed, device=output.device).bfloat16().to(output.dtype)
                for output, seed in differentiable
            ]
            gradients = torch.autograd.grad(
                [output for output, _ in differentiable], list(leaves.values()), upstream, allow_unused=True
            )
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name]), f"the operator wrote into its argument {name}"
    results = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    for (name, leaf), gradient in zip(leaves.items(), gradients):
        results[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return results
