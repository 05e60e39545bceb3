"""The dense operators of a step against what else a user could call: eager PyTorch, and torch.compile of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.agreement import agreeing
from bench.capture import marked_as
from bench.ceiling import copy_ceiling
from bench.compiled import compiled_variants
from bench.timing import interleave, synchronised
from mde_fast.kernels import (
    adam_step,
    bpr,
    cosine_losses,
    dropout,
    infonce,
    node_losses,
    normalize_rows,
    project_rows,
    topk,
)
from mde_fast.kernels.bpr.reference import bpr_reference
from mde_fast.kernels.cosine_losses.reference import cosine_losses_reference
from mde_fast.kernels.infonce.reference import infonce_reference
from mde_fast.kernels.node_losses.reference import node_losses_reference
from mde_fast.kernels.normalize_rows.reference import normalize_rows_reference
from mde_fast.kernels.project_rows.reference import project_rows_reference

# Users, items; values are random. The last is for rehearsals.
SIZES = {"baby": (19_445, 7_050), "clothing": (39_387, 23_033), "tiny": (120, 60)}
MODALITIES, DIM, BATCH, K = 2, 64, 2048, 50
CONTENT = 4096  # features of an item's image
TOLERANCE = 1e-4  # relative, float32: sums in another order


@pytest.fixture(params=SIZES)
def sizes(request) -> tuple[int, int]:
    if request.param not in request.config.getoption("--dataset").split(","):
        pytest.skip(f"{request.param} is not among --dataset")
    return SIZES[request.param]


def gradients(run: Callable, leaves: list[Tensor], upstream: list[Tensor] | None = None) -> list[Tensor]:
    """Outputs and gradients of one call, each output with a gradient of its own, made here where it is not given."""
    outputs = run()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if upstream is None:
        upstream = [torch.full_like(output, 0.5 + index) for index, output in enumerate(outputs)]
    return [*(output.detach() for output in outputs), *torch.autograd.grad(outputs, leaves, upstream)]


@pytest.fixture(scope="module")
def floors(device) -> Callable[[int, int], dict[str, float]]:
    """Milliseconds that a copy takes for so many float32 numbers, read or written: forward, and both directions."""
    gb_s = copy_ceiling(device)
    return lambda forward, both: {"forward_ms": 4 * forward / gb_s / 1e6, "forward_backward_ms": 4 * both / gb_s / 1e6}


def measure(
    benchmark,
    variants: dict[str, Callable],
    leaves: list[Tensor],
    device,
    seconds: float,
    floor: dict[str, float] | None = None,
) -> None:
    """Check every variant against the first, then time forward alone and both directions."""
    expected = gradients(variants["mde_fast"], leaves)

    def agrees(name, run):
        for ours, theirs in zip(expected, gradients(run, leaves), strict=True):
            error = (ours - theirs).norm() / theirs.norm()
            assert error < TOLERANCE, f"{name} differs by {error:.1e}"

    variants, left_out = agreeing(variants, agrees, device)
    # Where Python is no part of the time, neither should be the kernels that fill them.
    upstream = None if device.type == "cpu" else [torch.full_like(each, 0.5) for each in expected[: -len(leaves)]]

    def forward(run):
        with torch.no_grad():
            return run()

    timings = {
        "forward_ms": interleave(
            {name: marked_as(run, partial(forward, run)) for name, run in variants.items()}, device, seconds=seconds
        ),
        "forward_backward_ms": interleave(
            {name: marked_as(run, partial(gradients, run, leaves, upstream)) for name, run in variants.items()},
            device,
            seconds=seconds,
        ),
    }
    record(benchmark, timings, "forward_backward_ms", floor)
    if left_out:
        benchmark.extra_info["left_out"] = left_out
    benchmark.pedantic(synchronised(gradients, device), args=(variants["mde_fast"], leaves), rounds=5)


def record(benchmark, timings: dict, main: str, floor: dict[str, float] | None = None) -> None:
    """``floor``: milliseconds that nothing can be faster than, for each kind of timing."""
    best = min(timing.median for name, timing in timings[main].items() if name != "mde_fast")
    benchmark.extra_info.update(
        {kind: {name: timing.as_dict() for name, timing in rows.items()} for kind, rows in timings.items()},
        operator=benchmark.name.partition("[")[0].removeprefix("test_"),
        size=benchmark.name.partition("[")[2].rstrip("]"),
        speed_up_over_best=best / timings[main]["mde_fast"].median,
        floor_ms=floor or {},
    )


def with_rivals(
    fast: Callable, reference: Callable, device: torch.device, modes: Collection[str], **others: Callable
) -> dict[str, Callable]:
    variants = {"mde_fast": fast, "PyTorch": reference, **others}
    return variants | compiled_variants("torch.compile", reference, device, modes)


def rows(count: int, device) -> Tensor:
    return torch.randn(count, MODALITIES, DIM, device=device, requires_grad=True)


def test_normalize_rows(benchmark, sizes, device, seconds, compiled, floors):
    """Users and items on top of each other, as the model needs them."""
    tables = [rows(count, device) for count in sizes]
    variants = with_rivals(
        lambda: normalize_rows(*tables), lambda: normalize_rows_reference(tables, 1.0)[0], device, compiled
    )
    variants["F.normalize"] = lambda: F.normalize(torch.cat(tables), dim=-1)
    numbers = sum(table.numel() for table in tables)
    measure(benchmark, variants, tables, device, seconds, floors(2 * numbers, 5 * numbers))


def test_dropout(benchmark, sizes, device, seconds, compiled, floors):
    """F.dropout has a mask of its own and keeps it: its time is compared, its numbers are not."""
    x, seed = rows(sum(sizes), device), torch.tensor(5, device=device)
    variants = {"mde_fast": lambda: dropout(x, 0.3, seed), "F.dropout": lambda: F.dropout(x, 0.3)}
    variants |= compiled_variants("torch.compile", lambda: F.dropout(x, 0.3), device, compiled)
    timings = {
        "forward_ms": interleave(variants, device, seconds=seconds),
        "forward_backward_ms": interleave(
            {name: marked_as(run, partial(gradients, run, [x])) for name, run in variants.items()},
            device,
            seconds=seconds,
        ),
    }
    record(benchmark, timings, "forward_backward_ms", floors(2 * x.numel(), 4 * x.numel()))
    benchmark.pedantic(synchronised(gradients, device), args=(variants["mde_fast"], [x]), rounds=5)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16), ids=("fp32", "bf16"))
def test_adam_step(benchmark, sizes, device, seconds, floors, dtype):
    """torch's fused Adam rounds bfloat16 to the nearest: its time is compared, its numbers are not."""
    table, gradient = (rows(sum(sizes), device).to(dtype) for _ in range(2))
    moments, step = [torch.zeros_like(table) for _ in range(2)], torch.tensor(1.0, device=device)
    theirs = torch.nn.Parameter(table.clone())
    theirs.grad = gradient.clone()
    optimizer = torch.optim.Adam([theirs], lr=1e-3, fused=True)
    variants = {
        "mde_fast": lambda: adam_step(table, gradient, *moments, step, learning_rate=1e-3),
        "torch.optim.Adam(fused=True)": optimizer.step,
    }
    timings = {"forward_ms": interleave(variants, device, seconds=seconds)}
    bytes_a_number = 7 * dtype.itemsize  # four read, three written; floors count numbers of four bytes
    record(benchmark, timings, "forward_ms", floors(table.numel() * bytes_a_number / 4, 0))
    benchmark.pedantic(variants["mde_fast"], rounds=5)


def test_node_losses(benchmark, sizes, device, seconds, compiled, floors):
    h = rows(sum(sizes), device)
    logits = torch.randn(sum(sizes), MODALITIES, device=device)
    variants = with_rivals(
        lambda: node_losses(h, preference_logits=logits),
        lambda: node_losses_reference(h, logits, None, True, "row_l2", "cosine"),
        device,
        compiled,
    )
    measure(benchmark, variants, [h], device, seconds, floors(h.numel(), 3 * h.numel()))


def test_bpr(benchmark, sizes, device, seconds, compiled, floors):
    h_users, h_items = (rows(count, device) for count in sizes)
    user_logits, item_logits = (torch.randn(count, MODALITIES, device=device, requires_grad=True) for count in sizes)
    users, positives, negatives = (
        torch.randint(count, (BATCH,), device=device) for count in (sizes[0], sizes[1], sizes[1])
    )
    triple = h_users, h_items, users, positives, negatives
    variants = with_rivals(
        lambda: bpr(*triple, user_logits=user_logits, item_logits=item_logits),
        lambda: bpr_reference(*triple, user_logits, item_logits, "concat"),
        device,
        compiled,
    )
    gathered, written = 3 * BATCH * MODALITIES * DIM, h_users.numel() + h_items.numel()
    floor = floors(gathered, 2 * gathered + written)
    measure(benchmark, variants, [h_users, h_items, user_logits, item_logits], device, seconds, floor)


def test_infonce(benchmark, device, seconds, compiled):
    h, weight, nodes = rows(BATCH, device), torch.rand(BATCH, device=device), torch.randperm(BATCH, device=device)
    variants = with_rivals(
        lambda: infonce(h, weight=weight, nodes=nodes),
        lambda: infonce_reference(h, weight, nodes, 0.2),
        device,
        compiled,
    )
    measure(benchmark, variants, [h], device, seconds)


def test_cosine_losses(benchmark, sizes, device, seconds, compiled):
    """BM3's: the online vectors of users, items and two modalities against targets without a gradient."""
    pairs = ((0, 1), (1, 0), (2, 1), (3, 1), (2, 2), (3, 3))
    x, target = (torch.randn(BATCH, 4, DIM, device=device, requires_grad=learns) for learns in (True, False))

    def published():
        cosines = [F.cosine_similarity(x[:, one], target[:, other], dim=-1) for one, other in pairs]
        return torch.stack([1 - cosine.mean() for cosine in cosines])

    variants = with_rivals(
        lambda: cosine_losses(x, target, pairs=pairs),
        lambda: cosine_losses_reference(x, target, None, None, pairs),
        device,
        compiled,
        **{"F.cosine_similarity": published},
    )
    measure(benchmark, variants, [x], device, seconds)


@pytest.mark.parametrize("trained", (False, True), ids=("frozen", "trained"))
def test_project_rows(benchmark, sizes, device, seconds, compiled, trained):
    """Positives and negatives of a batch, projected from features that stay or learn."""
    items = torch.randint(sizes[1], (2 * BATCH,), device=device)
    features = torch.randn(sizes[1], CONTENT, device=device, requires_grad=trained)
    weight = torch.randn(DIM, CONTENT, device=device, requires_grad=True)
    variants = with_rivals(
        lambda: project_rows(features, items, weight),
        lambda: project_rows_reference(features, items, weight),
        device,
        compiled,
        **{
            "F.linear of F.embedding": lambda: F.linear(F.embedding(items, features), weight),
            "all items, then rows": lambda: F.embedding(items, F.linear(features, weight)),
        },
    )
    measure(benchmark, variants, [features, weight] if trained else [weight], device, seconds)


def blocks_of(size: int, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """Scores of a block of users, then torch.topk: MMRec's evaluation has blocks of 4096."""
    best = [torch.topk(block @ item_vectors.T, K, dim=1)[1] for block in user_vectors.split(size)]
    return torch.cat(best)


def test_topk(benchmark, sizes, device, seconds):
    user_vectors, item_vectors = (torch.randn(count, MODALITIES * DIM, device=device) for count in sizes)
    variants = {
        "mde_fast": lambda: topk(user_vectors, item_vectors, K)[1],
        "blocks of 4096": lambda: blocks_of(4096, user_vectors, item_vectors),
        "blocks of 128": lambda: blocks_of(128, user_vectors, item_vectors),
    }
    expected = variants["mde_fast"]()
    for name, run in variants.items():
        same = (expected == run()).float().mean()  # equal scores may change places
        assert same > 0.999, f"{name} agrees on {same:.4f} only"
    variants["the product alone"] = lambda: [block @ item_vectors.T for block in user_vectors.split(128)][-1]
    timings = interleave(variants, device, seconds=2 * seconds)
    floor = {"forward_ms": timings.pop("the product alone").median}
    record(benchmark, {"forward_ms": timings}, "forward_ms", floor)
    benchmark.pedantic(synchronised(variants["mde_fast"], device), rounds=3)
