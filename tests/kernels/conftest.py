"""Which implementation an operator test runs, and where."""

import os

import pytest
import torch
from support import IMPLEMENTATIONS

# The interpreter runs a kernel's programs one by one in Python: cases above this many numbers are left to real devices.
INTERPRETER_LIMIT = 4000

if os.environ.get("TRITON_INTERPRET") == "1" and "triton" in IMPLEMENTATIONS:
    from interpreter import patch_language_once_a_launch

    patch_language_once_a_launch()


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request) -> str:
    """An implementation to compare with the reference."""
    return request.param


@pytest.fixture(params=("reference", *IMPLEMENTATIONS))
def any_implementation(request) -> str:
    """Any implementation, the reference included."""
    return request.param


@pytest.fixture
def device(request) -> str:
    """Where the test's implementation runs: kernels on the GPU if there is one, everything else on the CPU."""
    name = next(
        request.getfixturevalue(fixture)
        for fixture in ("implementation", "any_implementation")
        if fixture in request.fixturenames
    )
    return "cuda" if name == "triton" and os.environ.get("TRITON_INTERPRET") != "1" else "cpu"


@pytest.fixture
def affordable(request, device):
    """Call with the size of a case: skips the test where an interpreter would take too long over it."""

    def check(numbers: int) -> None:
        interpreted = "triton" in request.node.callspec.params.values() and device == "cpu"
        if interpreted and numbers > INTERPRETER_LIMIT:
            pytest.skip(f"{numbers} numbers are too many for the interpreter")

    return check


@pytest.fixture
def all_threads(one_thread):
    """For tests that work shared out between threads could break."""
    torch.set_num_threads(one_thread)


@pytest.fixture
def poisoned_memory():
    """Fresh memory holds NaN (the largest integer for integers), so that a row nobody writes shows up."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    # PyTorch only fills in deterministic mode; warnings are enough, an operation's own order is not the subject here.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(4).isnan().all()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]
