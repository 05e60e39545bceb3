"""What every operator is held to: the reference, its own first run, finite differences, PyTorch's own checks."""

from __future__ import annotations

import torch
from support import evaluate, forced

from mde_fast.kernels import dispatch

# Largest RMS of the error as a part of the RMS of the truth; a few roundings of the dtype.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt()) if tensor.numel() else 0.0


def assert_close(actual: torch.Tensor, expected: torch.Tensor, name: str, floor: float = 1e-6) -> None:
    """The RMS of the error is a small part of the RMS of the truth, or of ``floor`` where the truth vanishes."""
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert torch.isfinite(actual).all(), f"{name}: not finite"
    error, scale = rms(actual.double() - expected.double()), rms(expected)
    allowed = TOLERANCE[actual.dtype] * max(scale, floor)
    assert error <= allowed, f"{name}: RMS of the error {error:.3g}, of the truth {scale:.3g}"


def check(implementation: str, operator, tensors: dict[str, torch.Tensor], floor: float = 1e-6) -> None:
    """Outputs and gradients against the reference run in float64 on the same numbers."""
    actual = evaluate(implementation, operator, tensors)
    expected = evaluate("reference", operator, {name: tensor.double() for name, tensor in tensors.items()})
    dtype = next(iter(tensors.values())).dtype
    for name in expected:
        assert actual[name].dtype == dtype, f"{name}: {actual[name].dtype} from {dtype}"
        assert_close(actual[name], expected[name], name, floor)


def check_repeats(implementation: str, operator, tensors: dict[str, torch.Tensor]) -> None:
    """A second run gives the same bits, outputs and gradients."""
    first, second = (evaluate(implementation, operator, tensors) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), f"{name} differs between two runs"


def check_gradients(implementation: str, operator, tensors: dict[str, torch.Tensor]) -> None:
    """Analytic gradients against finite differences, in float64.

    In the interpreter, where a call takes long, along one random direction instead of entry by entry: each entry is
    compared with the reference's, which is checked entry by entry.
    """
    names = list(tensors)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors.values()]
    interpreted = implementation == "triton" and not leaves[0].is_cuda
    with forced(implementation):
        assert torch.autograd.gradcheck(
            lambda *values: operator(**dict(zip(names, values))), leaves, fast_mode=interpreted
        )


def check_compiled(implementation: str, operator, tensors: dict[str, torch.Tensor]) -> None:
    """``torch.compile`` takes the operator whole, and forward and backward give what they give eagerly."""
    torch._dynamo.reset()
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    actual, expected = (evaluate(implementation, function, tensors) for function in (compiled, operator))
    for name in expected:
        assert_close(actual[name], expected[name], name)


def check_registered(implementation: str, primitive: dispatch.Primitive, *arguments) -> None:
    """PyTorch's own checks of a registered operator: its schema, its fake, its way through autograd and tracing."""
    with forced(implementation):
        torch.library.opcheck(primitive.registered, arguments)


def check_expanded_gradient(implementation: str, operator, x: torch.Tensor) -> None:
    """The gradient that comes in has a stride of 0, as that of a sum has."""
    x.requires_grad_()
    gradients = []
    for name in (implementation, "reference"):
        with forced(name):
            gradients += torch.autograd.grad(operator(x).sum(), x)
    assert_close(*gradients, "gradient of x")
