"""GPU path of project_rows: products whose tiles gather the items' rows, so that these are never written anywhere.

The inner dimension of either product (features forwards, the batch backwards) is much longer than the result is large:
it is cut into parts, each with programs of its own, whose partial products are added up in a fixed order.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work
from .cpu import gradient_of_all, gradient_of_features, project_rows_backward_cpu, project_rows_forward_cpu
from .precision import working_dtype

PROGRAMS = 256  # that a product is cut into, two for each multiprocessor of a large GPU
SHORTEST_PART = 256  # of an inner dimension: a shorter one costs more to add up than it saves


@triton.jit(launch_metadata=metrics_of(work.project_rows_forward))
def project_rows_forward_kernel(
    features_ptr,  # (I, F)
    items_ptr,  # (n,)
    weight_ptr,  # (D, F)
    out_ptr,  # (parts, n, D)
    count,
    per_part,  # columns of features, a multiple of BLOCK_F
    D: tl.constexpr,
    F: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_F: tl.constexpr,
    WORK: tl.constexpr,
    PRECISION: tl.constexpr,
    ACC: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    part = tl.program_id(2).to(tl.int64)
    exists, is_dim = rows < count, dims < D
    items = tl.load(items_ptr + rows, mask=exists, other=0).to(tl.int64)

    total = tl.zeros((BLOCK_N, BLOCK_D), dtype=ACC)
    begin = part * per_part
    for first in range(begin, tl.minimum(begin + per_part, F), BLOCK_F):
        columns = first + tl.arange(0, BLOCK_F)
        is_column = (columns < F)[None, :]
        x = tl.load(
            features_ptr + items[:, None] * F + columns[None, :], mask=exists[:, None] & is_column, other=0.0
        ).to(WORK)
        weight = tl.load(
            weight_ptr + dims[:, None] * F + columns[None, :], mask=is_dim[:, None] & is_column, other=0.0
        ).to(WORK)
        total = tl.dot(x, tl.trans(weight), total, input_precision=PRECISION, out_dtype=ACC)
    tl.store(
        out_ptr + (part * count + rows)[:, None] * D + dims[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=exists[:, None] & is_dim[None, :],
    )


@triton.jit(launch_metadata=metrics_of(work.project_rows_weight))
def project_rows_weight_kernel(
    grad_ptr,  # (n, D)
    features_ptr,  # (I, F)
    items_ptr,  # (n,)
    out_ptr,  # (parts, D, F): the gradient of the weight
    count,
    per_part,  # rows of the batch, a multiple of BLOCK_N
    D: tl.constexpr,
    F: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_F: tl.constexpr,
    WORK: tl.constexpr,
    PRECISION: tl.constexpr,
    ACC: tl.constexpr,
):
    columns = tl.program_id(0) * BLOCK_F + tl.arange(0, BLOCK_F)
    dims = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    part = tl.program_id(2).to(tl.int64)
    is_column, is_dim = columns < F, dims < D

    total = tl.zeros((BLOCK_D, BLOCK_F), dtype=ACC)
    begin = part * per_part
    for first in range(begin, tl.minimum(begin + per_part, count), BLOCK_N):
        rows = first + tl.arange(0, BLOCK_N)
        exists = rows < count
        items = tl.load(items_ptr + rows, mask=exists, other=0).to(tl.int64)
        grad = tl.load(
            grad_ptr + rows[:, None] * D + dims[None, :], mask=exists[:, None] & is_dim[None, :], other=0.0
        ).to(WORK)
        x = tl.load(
            features_ptr + items[:, None] * F + columns[None, :],
            mask=exists[:, None] & is_column[None, :],
            other=0.0,
        ).to(WORK)
        total = tl.dot(tl.trans(grad), x, total, input_precision=PRECISION, out_dtype=ACC)
    tl.store(
        out_ptr + (part * D + dims)[:, None] * F + columns[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=is_dim[:, None] & is_column[None, :],
    )


def launch_sizes(dim: int, dtype: torch.dtype) -> dict[str, int]:
    """Block sizes of both products, a pure function.

    Three stages of a tile of each factor fit the 64 KB of shared memory that AMD has; a thread adds up 32 numbers.
    """
    block = 64 if dtype.itemsize <= 4 else 32
    return {
        "BLOCK_N": block,
        "BLOCK_D": min(block, max(16, triton.next_power_of_2(dim))),
        "BLOCK_F": block if dtype.itemsize == 2 else 32,
        "num_warps": 4,
        "num_stages": 3,
    }


def parts_of(length: int, programs: int, block: int) -> tuple[int, int]:
    """How many parts an inner dimension is cut into where the result has so many programs, and a part's length."""
    wanted = max(1, min(PROGRAMS // max(programs, 1), length // SHORTEST_PART))
    per_part = max(1, triton.cdiv(triton.cdiv(length, wanted), block)) * block
    return max(1, triton.cdiv(length, per_part)), per_part


def arithmetic(work: torch.dtype, precision: str) -> dict:
    """The type of the products' factors, how they are multiplied, and the type of sums."""
    return {
        "WORK": getattr(tl, str(work).removeprefix("torch.")),
        "PRECISION": "tf32" if precision == "tf32" and work == torch.float32 else "ieee",
        "ACC": accumulator(work),
    }


def project_rows_forward_triton(
    features: Tensor, items: Tensor | None, weight: Tensor, bias: Tensor | None, precision: str
) -> Tensor:
    if items is None or len(items) >= len(features):  # every item once, and its rows from there: a plain product
        return project_rows_forward_cpu(features, items, weight, bias, precision)
    count, (dim, length) = len(items), weight.shape
    sizes = launch_sizes(dim, features.dtype)
    tiles = triton.cdiv(count, sizes["BLOCK_N"]), triton.cdiv(dim, sizes["BLOCK_D"])
    parts, per_part = parts_of(length, tiles[0] * tiles[1], sizes["BLOCK_F"])
    dtype = working_dtype(features, precision)
    out = _partial_products(parts, (count, dim), dtype, weight)
    if out.numel():
        project_rows_forward_kernel[(*tiles, parts)](
            features.contiguous(),
            items.contiguous(),
            weight.contiguous(),
            out,
            count,
            per_part,
            D=dim,
            F=length,
            **arithmetic(dtype, precision),
            **sizes,
        )
    projected = _added_up(out, weight)
    return projected if bias is None else projected.add_(bias)


def project_rows_backward_triton(
    grad: Tensor, features: Tensor, items: Tensor | None, weight: Tensor, precision: str, train_features: bool
) -> tuple[Tensor, Tensor]:
    if items is None or len(items) >= len(features):
        return project_rows_backward_cpu(grad, features, items, weight, precision, train_features)
    count, (dim, length) = len(items), weight.shape
    sizes = launch_sizes(dim, features.dtype)
    tiles = triton.cdiv(length, sizes["BLOCK_F"]), triton.cdiv(dim, sizes["BLOCK_D"])
    parts, per_part = parts_of(count, tiles[0] * tiles[1], sizes["BLOCK_N"])
    dtype = working_dtype(features, precision)
    out = _partial_products(parts, (dim, length), dtype, weight)
    if out.numel():
        project_rows_weight_kernel[(*tiles, parts)](
            grad.contiguous(),
            features.contiguous(),
            items.contiguous(),
            out,
            count,
            per_part,
            D=dim,
            F=length,
            **arithmetic(dtype, precision),
            **sizes,
        )
    everywhere = gradient_of_all(grad, features, items, dtype) if train_features else None
    return gradient_of_features(everywhere, features, weight, precision), _added_up(out, weight)


def _partial_products(parts: int, shape: tuple[int, int], work: torch.dtype, weight: Tensor) -> Tensor:
    """(parts, *shape): of several parts in the precision of sums, of one part the result itself."""
    return weight.new_empty(parts, *shape, dtype=weight.dtype if parts == 1 else accumulation_dtype(work))


def _added_up(partial: Tensor, weight: Tensor) -> Tensor:
    return partial[0] if len(partial) == 1 else partial.sum(0).to(weight.dtype)
