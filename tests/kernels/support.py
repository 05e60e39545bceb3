"""What the operator tests share: graphs and shapes to try, running an operator as one implementation, comparing."""

from __future__ import annotations

import importlib.util
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from mde_fast.kernels import CSRGraph, dispatch


def _runs_here(implementation: str) -> bool:
    """Triton needs to be installed, and a GPU or its interpreter, which conftest.py chooses where there is no GPU."""
    if implementation != "triton":
        return True
    installed = importlib.util.find_spec("triton") is not None
    return installed and (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1")


# Every implementation but the ground truth is compared with it; a new one is picked up here by itself.
IMPLEMENTATIONS = tuple(name for name in dispatch.IMPLEMENTATIONS if name != "reference" and _runs_here(name))

WIDTHS = (1, 3, 17, 64, 100, 128, 200)
DTYPES = (torch.float32, torch.float64)
HALF_DTYPES = (torch.float16, torch.bfloat16)

# Largest RMS of the error as a part of the RMS of the truth; a few roundings of the dtype.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, device: str = "cpu") -> torch.Tensor:
    """Standard normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def random_ids(count: int, limit: int, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    """(count,) row numbers below ``limit``, repeats included."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(max(limit, 1), (count,), generator=generator).to(device)


# ---------------------------------------------------------------------------------------------------------------------
# Graphs


def csr(rows, columns, shape, *, index=torch.int32, values=None, constant=1.0, symmetric=False) -> CSRGraph:
    """A graph of the edges (rows[e], columns[e]); within a row they keep the order they are given in."""
    rows, columns = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    rowptr = np.concatenate([[0], np.bincount(rows, minlength=shape[0]).cumsum()])
    return CSRGraph(
        rowptr=torch.from_numpy(rowptr).to(index),
        columns=torch.from_numpy(columns[order]).to(index),
        shape=shape,
        values=None if values is None else torch.as_tensor(values)[torch.from_numpy(order)],
        constant=constant,
        symmetric=symmetric,
    )


def _distinct_edges(num_rows: int, num_columns: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    picked = np.random.default_rng(seed).choice(num_rows * num_columns, count, replace=False)
    return np.divmod(np.sort(picked), num_columns)


def user_item(num_users: int, num_items: int, users, items, index=torch.int32) -> CSRGraph:
    """[[0, R], [R^T, 0]] of eq. 2."""
    users, items = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64) + num_users
    size = num_users + num_items
    return csr([*users, *items], [*items, *users], (size, size), index=index, symmetric=True)


def _hub(num_users: int, num_items: int) -> CSRGraph:
    """User 0 has every item, each other user one."""
    others = np.arange(1, num_users)
    users = np.concatenate([np.zeros(num_items, dtype=np.int64), others])
    return user_item(num_users, num_items, users, np.concatenate([np.arange(num_items), others % num_items]))


SYMMETRIC_GRAPHS = {
    "no nodes": lambda: user_item(0, 0, [], []),
    "no edges": lambda: user_item(3, 2, [], []),
    "one edge": lambda: user_item(1, 1, [0], [0]),
    "tiny": lambda: user_item(3, 3, [0, 0, 2], [0, 2, 2]),
    "small": lambda: user_item(7, 5, *_distinct_edges(7, 5, 16, seed=1)),
    "64-bit indices": lambda: user_item(7, 5, *_distinct_edges(7, 5, 16, seed=2), index=torch.int64),
    "isolated nodes": lambda: user_item(9, 8, [1, 1, 4, 7], [0, 3, 3, 6]),
    "hub": lambda: _hub(12, 150),
    "large": lambda: user_item(2000, 1200, *_distinct_edges(2000, 1200, 15000, seed=3)),
    "large hub": lambda: _hub(600, 3000),
}


def _asymmetric(num_rows: int, num_columns: int, count: int, seed: int, **options) -> CSRGraph:
    return csr(*_distinct_edges(num_rows, num_columns, count, seed), (num_rows, num_columns), **options)


def _valued(num_rows: int, num_columns: int, count: int, seed: int) -> CSRGraph:
    return _asymmetric(num_rows, num_columns, count, seed, values=random(count, seed=seed + 100))


GRAPHS = {
    "0 x 0": lambda: csr([], [], (0, 0)),
    "0 x 4": lambda: csr([], [], (0, 4)),
    "4 x 0": lambda: csr([], [], (4, 0)),
    "no edges": lambda: csr([], [], (5, 3)),
    "square": lambda: _asymmetric(6, 6, 13, seed=1, constant=0.1),
    "square with values": lambda: _valued(6, 6, 13, seed=2),
    "tall": lambda: _valued(19, 4, 30, seed=3),
    "wide": lambda: _valued(4, 19, 30, seed=4),
    "64-bit indices": lambda: _asymmetric(6, 8, 13, seed=5, index=torch.int64),
    "empty rows and columns": lambda: csr([1, 1, 5], [0, 4, 4], (8, 7), values=random(3, seed=6)),
    "hub row": lambda: csr([2] * 150 + [0, 4], [*range(150), 7, 7], (5, 150), values=random(152, seed=7)),
    "hub column": lambda: csr([*range(150), 7, 7], [2] * 150 + [0, 4], (150, 5), values=random(152, seed=8)),
    "repeated edges": lambda: csr([0, 0, 0, 2, 2], [1, 1, 2, 3, 3], (3, 4), values=random(5, seed=9)),
    "columns out of order": lambda: csr([0, 0, 0, 1, 2, 2], [3, 0, 2, 1, 2, 0], (3, 4), values=random(6, seed=10)),
    "symmetric": SYMMETRIC_GRAPHS["small"],
    "symmetric, columns out of order": lambda: csr(
        [0, 0, 0, 1, 1, 2, 2], [2, 0, 1, 2, 0, 1, 0], (3, 3), constant=0.5, symmetric=True
    ),
    "large": lambda: _valued(2500, 1800, 20000, seed=11),
}


def dense(graph: CSRGraph) -> torch.Tensor:
    """The graph as a float64 matrix, edge by edge."""
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    values = [graph.constant] * graph.num_edges if graph.values is None else graph.values.tolist()
    for row in range(graph.shape[0]):
        for edge in range(int(graph.rowptr[row]), int(graph.rowptr[row + 1])):
            matrix[row, int(graph.columns[edge])] += values[edge]
    return matrix


# ---------------------------------------------------------------------------------------------------------------------
# Running and comparing


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
