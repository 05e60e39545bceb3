"""GPU path of normalize_rows: a program owns a few rows and reads each once, in either direction.

A launch goes over several tables, or over the columns that a table is made of: its sources. Each has its programs, and
the program's number says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import accumulator, metrics_of
from . import work
from .cpu import NORM_EPS, empty_gradients, empty_results, joined_shapes

SOURCES = 4  # of a launch at most


@triton.jit
def choose(program, of0, of1, of2, of3, start1, start2, start3, SOURCES: tl.constexpr):
    """The number of the source that a program belongs to; sources begin at programs 0, start1, ..."""
    chosen = of0
    if SOURCES > 1:
        chosen = tl.where(program >= start1, of1, chosen)
    if SOURCES > 2:
        chosen = tl.where(program >= start2, of2, chosen)
    if SOURCES > 3:
        chosen = tl.where(program >= start3, of3, chosen)
    return chosen


@triton.jit
def choose_pointer(program, of0, of1, of2, of3, start1, start2, start3, SOURCES: tl.constexpr):
    """The same of pointers."""
    chosen = of0
    if SOURCES > 1:
        if program >= start1:
            chosen = of1
    if SOURCES > 2:
        if program >= start2:
            chosen = of2
    if SOURCES > 3:
        if program >= start3:
            chosen = of3
    return chosen


@triton.jit(launch_metadata=metrics_of(work.normalize_rows_forward))
def normalize_rows_forward_kernel(
    x0_ptr,  # (count0, D)
    x1_ptr,
    x2_ptr,
    x3_ptr,
    out_ptr,  # (R, D)
    norm_ptr,  # (R,)
    start1,  # first program of a source
    start2,
    start3,
    count0,  # rows of a source
    count1,
    count2,
    count3,
    first0,  # where its first row stands in the result
    first1,
    first2,
    first3,
    step0,  # and how far apart its rows are there
    step1,
    step2,
    step3,
    scale: tl.float64,  # declared, or float64 rows would get a scale rounded to float32
    SOURCES: tl.constexpr,
    D: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    x_ptr = choose_pointer(program, x0_ptr, x1_ptr, x2_ptr, x3_ptr, start1, start2, start3, SOURCES)
    start = choose(program, 0, start1, start2, start3, start1, start2, start3, SOURCES)
    count = choose(program, count0, count1, count2, count3, start1, start2, start3, SOURCES)
    first = choose(program, first0, first1, first2, first3, start1, start2, start3, SOURCES)
    step = choose(program, step0, step1, step2, step3, start1, start2, start3, SOURCES)
    # From the program's first row on, numbers of 32 bits are enough, and take half of the registers.
    row = (program - start) * BLOCK_R
    place = first + row * step
    rows = tl.arange(0, BLOCK_R)
    dims = tl.arange(0, BLOCK_D)[None, :]
    exists = rows < count - row
    mask = exists[:, None] & (dims < D)
    own, apart = rows[:, None] * D + dims, (rows * step)[:, None] * D + dims

    x = tl.load(x_ptr + row * D + own, mask=mask, other=0.0).to(ACC)
    norm = tl.maximum(tl.sqrt(tl.sum(x * x, axis=1)), tl.full((BLOCK_R,), EPS, dtype=ACC))
    out = x * (tl.full((BLOCK_R,), scale, dtype=ACC) / norm)[:, None]
    tl.store(out_ptr + place * D + apart, out.to(out_ptr.dtype.element_ty), mask=mask)
    tl.store(norm_ptr + place + rows * step, norm, mask=exists)


@triton.jit(launch_metadata=metrics_of(work.normalize_rows_backward))
def normalize_rows_backward_kernel(
    grad_ptr,  # (R, D)
    grad_norm_ptr,  # (R,), read when HAS_GRAD_NORM
    norm_ptr,  # (R,)
    x0_ptr,  # (count0, D)
    x1_ptr,
    x2_ptr,
    x3_ptr,
    grad0_ptr,  # of the table that the source is, or is a column of
    grad1_ptr,
    grad2_ptr,
    grad3_ptr,
    start1,
    start2,
    start3,
    count0,
    count1,
    count2,
    count3,
    first0,
    first1,
    first2,
    first3,
    step0,
    step1,
    step2,
    step3,
    column0,  # where its first row stands in that gradient; its rows are as far apart as in the result
    column1,
    column2,
    column3,
    scale: tl.float64,  # as above
    HAS_GRAD_NORM: tl.constexpr,
    SOURCES: tl.constexpr,
    D: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    x_ptr = choose_pointer(program, x0_ptr, x1_ptr, x2_ptr, x3_ptr, start1, start2, start3, SOURCES)
    grad_x_ptr = choose_pointer(program, grad0_ptr, grad1_ptr, grad2_ptr, grad3_ptr, start1, start2, start3, SOURCES)
    start = choose(program, 0, start1, start2, start3, start1, start2, start3, SOURCES)
    count = choose(program, count0, count1, count2, count3, start1, start2, start3, SOURCES)
    first = choose(program, first0, first1, first2, first3, start1, start2, start3, SOURCES)
    step = choose(program, step0, step1, step2, step3, start1, start2, start3, SOURCES)
    column = choose(program, column0, column1, column2, column3, start1, start2, start3, SOURCES)
    # From the program's first row on, numbers of 32 bits are enough, and take half of the registers.
    row = (program - start) * BLOCK_R
    place = first + row * step
    rows = tl.arange(0, BLOCK_R)
    dims = tl.arange(0, BLOCK_D)[None, :]
    exists = rows < count - row
    mask = exists[:, None] & (dims < D)
    own, apart = rows[:, None] * D + dims, (rows * step)[:, None] * D + dims

    grad = tl.load(grad_ptr + place * D + apart, mask=mask, other=0.0).to(ACC)
    x = tl.load(x_ptr + row * D + own, mask=mask, other=0.0).to(ACC)
    norm = tl.load(norm_ptr + place + rows * step, mask=exists, other=1.0)
    factor = tl.full((BLOCK_R,), scale, dtype=ACC) / norm
    along = tl.sum(grad * x, axis=1) * factor
    if HAS_GRAD_NORM:
        along -= tl.load(grad_norm_ptr + place + rows * step, mask=exists, other=0.0) * norm
    # Below the smallest norm the row is divided by a constant, and its gradient only scaled.
    varies = norm > tl.full((BLOCK_R,), EPS, dtype=ACC)
    along = tl.where(varies, along / norm / norm, 0.0)
    grad_x = (grad * factor[:, None] - along[:, None] * x).to(grad_x_ptr.dtype.element_ty)
    tl.store(grad_x_ptr + (column + row * step) * D + apart, grad_x, mask=mask)


def launch_sizes(width: int, dtype: torch.dtype) -> dict[str, int]:
    """Block sizes for rows of a width, a pure function.

    A thread holds 64 bytes of rows, four 16-byte loads in flight, and leaves room for enough other threads.
    """
    numbers = 1024 if dtype == torch.float64 else 2048
    block_d = triton.next_power_of_2(max(width, 1))
    block_r = max(1, numbers // block_d)
    return {"BLOCK_R": block_r, "BLOCK_D": block_d, "num_warps": min(16, max(4, 4 * block_r * block_d // numbers))}


class Source(NamedTuple):
    """A table, or a column of one.

    Attributes:
        x: (count, D), contiguous.
        first, step: its rows stand in the result at ``first``, ``first + step``, ...
        table: the number of its table.
        column: which row of that is its first.
    """

    x: Tensor
    count: int
    first: int
    step: int
    table: int
    column: int


def _sources(tensors: Sequence[Tensor], columns: Sequence[int]) -> Iterator[list[Source]]:
    """What one launch after the other goes over."""
    found, rows, remaining = [], 0, iter(tensors)
    for table, columns_of_table in enumerate(columns or [0] * len(tensors)):
        step = max(columns_of_table, 1)
        for column in range(step):
            x = next(remaining).contiguous()
            count = x.numel() // max(x.shape[-1], 1)
            found.append(Source(x, count, rows + column, step, table, column))
        rows += found[-1].count * step
    found = [source for source in found if source.count]
    for first in range(0, len(found), SOURCES):
        yield found[first : first + SOURCES]


def _arguments(sources: list[Source], block: int) -> tuple[int, list[int], list[list]]:
    """Programs, where those of the second source and the following begin, and the sources' attributes one by one."""
    programs = [triton.cdiv(source.count, block) for source in sources]
    starts = [sum(programs[:number]) for number in range(1, SOURCES)]
    missing = SOURCES - len(sources)
    return sum(programs), starts, [list(each) for each in zip(*sources, *[sources[0]] * missing)]


def normalize_rows_forward_triton(
    tensors: Sequence[Tensor], scale: float, columns: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    out, norms = empty_results(joined_shapes(tensors, columns))
    width, dtype = out.shape[-1], out.dtype
    sizes = launch_sizes(width, dtype)
    for sources in _sources(tensors, columns):
        programs, starts, (x, counts, firsts, steps, *_) = _arguments(sources, sizes["BLOCK_R"])
        normalize_rows_forward_kernel[(programs,)](
            *x,
            out,
            norms,
            *starts,
            *counts,
            *firsts,
            *steps,
            scale,
            SOURCES=len(sources),
            D=width,
            EPS=NORM_EPS,
            ACC=accumulator(dtype),
            **sizes,
        )
    return out, norms


def normalize_rows_backward_triton(
    grad: Tensor,
    grad_norms: Tensor | None,
    norms: Tensor,
    tensors: Sequence[Tensor],
    scale: float,
    columns: Sequence[int] = (),
) -> list[Tensor]:
    gradients = empty_gradients(joined_shapes(tensors, columns))
    width, dtype = tensors[0].shape[-1], tensors[0].dtype
    sizes = launch_sizes(width, dtype)
    grad, grad_norms = grad.contiguous(), None if grad_norms is None else grad_norms.contiguous()
    for sources in _sources(tensors, columns):
        programs, starts, (x, counts, firsts, steps, tables, places) = _arguments(sources, sizes["BLOCK_R"])
        normalize_rows_backward_kernel[(programs,)](
            grad,
            norms if grad_norms is None else grad_norms,
            norms,
            *x,
            *(gradients[table] for table in tables),
            *starts,
            *counts,
            *firsts,
            *steps,
            *places,
            scale,
            HAS_GRAD_NORM=grad_norms is not None,
            SOURCES=len(sources),
            D=width,
            EPS=NORM_EPS,
            ACC=accumulator(dtype),
            **sizes,
        )
    return gradients
