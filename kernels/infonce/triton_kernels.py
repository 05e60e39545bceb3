"""GPU path of infonce: the similarities are made tile by tile in both passes, as in flash attention.

A node's own row in the other modality is its positive; alternatives are the rows of other nodes. So a mask of different
nodes leaves the positive out of the tiles too, and it is treated apart: its logit is always there to start from.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work


@triton.jit
def load_rows(
    unit_ptr,  # (B, M, D)
    rows,  # (BLOCK,)
    modality,
    first_dim,
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """(BLOCK, BLOCK_D) of one modality, 0 outside of it."""
    dims = first_dim + tl.arange(0, BLOCK_D)
    return tl.load(
        unit_ptr + (rows[:, None] * M + modality) * D + dims[None, :],
        mask=(rows < batch)[:, None] & (dims < D)[None, :],
        other=0.0,
    )


@triton.jit
def own_logits(
    unit_ptr,  # (B, M, D)
    rows,  # (BLOCK_N,)
    query,
    key,
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK_N,) <query_n, key_n> * SCALE."""
    total = tl.zeros((BLOCK_N,), dtype=ACC)
    for first_dim in range(0, D, BLOCK_D):
        queries = load_rows(unit_ptr, rows, query, first_dim, batch, M, D, BLOCK_D).to(ACC)
        keys = load_rows(unit_ptr, rows, key, first_dim, batch, M, D, BLOCK_D).to(ACC)
        total += tl.sum(queries * keys, axis=1)
    return total * SCALE


@triton.jit
def tile_logits(
    unit_ptr,  # (B, M, D)
    rows,  # (BLOCK_N,)
    columns,  # (BLOCK_K,)
    query,
    key,
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK_N, BLOCK_K) <query_n, key_k> * SCALE."""
    total = tl.zeros((BLOCK_N, BLOCK_K), dtype=ACC)
    for first_dim in range(0, D, BLOCK_D):
        queries = load_rows(unit_ptr, rows, query, first_dim, batch, M, D, BLOCK_D)
        keys = load_rows(unit_ptr, columns, key, first_dim, batch, M, D, BLOCK_D)
        total = tl.dot(queries, tl.trans(keys), total, input_precision="ieee", out_dtype=ACC)
    return total * SCALE


@triton.jit
def direction(query, key, M: tl.constexpr):
    """The row of an ordered pair of modalities among all of them: (0, 1), (0, 2), ..., (1, 0), (1, 2), ..."""
    return query * (M - 1) + key - (key > query).to(tl.int32)


@triton.jit(launch_metadata=metrics_of(work.infonce_forward))
def infonce_forward_kernel(
    unit_ptr,  # (B, M, D)
    nodes_ptr,  # (B,)
    logsumexp_ptr,  # (M * (M - 1), B)
    losses_ptr,  # (M * (M - 1), B)
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    query = tl.program_id(1) // (M - 1)
    key = tl.program_id(1) % (M - 1)
    key += (key >= query).to(tl.int32)
    nodes = tl.load(nodes_ptr + rows, mask=rows < batch, other=0)

    own = own_logits(unit_ptr, rows, query, key, batch, M, D, SCALE, BLOCK_N, BLOCK_D, ACC)
    largest, total = own, tl.full((BLOCK_N,), 1.0, dtype=ACC)
    for first in range(0, batch, BLOCK_K):
        columns = first + tl.arange(0, BLOCK_K).to(tl.int64)
        others = tl.load(nodes_ptr + columns, mask=columns < batch, other=0)
        is_alternative = (nodes[:, None] != others[None, :]) & (columns < batch)[None, :]
        logits = tile_logits(unit_ptr, rows, columns, query, key, batch, M, D, SCALE, BLOCK_N, BLOCK_K, BLOCK_D, ACC)
        logits = tl.where(is_alternative, logits, -float("inf"))
        before = largest
        largest = tl.maximum(before, tl.max(logits, axis=1))
        total = total * tl.exp(before - largest) + tl.sum(tl.exp(logits - largest[:, None]), axis=1)
    logsumexp = largest + tl.log(total)
    place = direction(query, key, M).to(tl.int64) * batch + rows
    tl.store(logsumexp_ptr + place, logsumexp, mask=rows < batch)
    tl.store(losses_ptr + place, logsumexp - own, mask=rows < batch)


@triton.jit(launch_metadata=metrics_of(work.infonce_backward))
def infonce_backward_kernel(
    grad_ptr,  # ()
    unit_ptr,  # (B, M, D)
    weight_ptr,  # (B,)
    nodes_ptr,  # (B,)
    logsumexp_ptr,  # (M * (M - 1), B)
    grad_unit_ptr,  # (B, M, D)
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    SCALE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    query = tl.program_id(1)
    first_dim = tl.program_id(2) * BLOCK_D
    in_batch = rows < batch
    nodes = tl.load(nodes_ptr + rows, mask=in_batch, other=0)
    weight = tl.load(weight_ptr + rows, mask=in_batch, other=0.0).to(ACC)

    gradient = tl.zeros((BLOCK_N, BLOCK_D), dtype=ACC)
    for other in range(M - 1):
        key = other + (other >= query).to(tl.int32)
        # The modality's rows are queries in one direction, and keys of the other modality's queries in the other one.
        forth_ptr = logsumexp_ptr + direction(query, key, M).to(tl.int64) * batch
        back_ptr = logsumexp_ptr + direction(key, query, M).to(tl.int64) * batch
        forth = tl.load(forth_ptr + rows, mask=in_batch, other=0.0)
        for first in range(0, batch, BLOCK_K):
            columns = first + tl.arange(0, BLOCK_K).to(tl.int64)
            in_columns = columns < batch
            others = tl.load(nodes_ptr + columns, mask=in_columns, other=0)
            other_weight = tl.load(weight_ptr + columns, mask=in_columns, other=0.0).to(ACC)
            back = tl.load(back_ptr + columns, mask=in_columns, other=0.0)
            is_alternative = (nodes[:, None] != others[None, :]) & in_columns[None, :]
            logits = tile_logits(
                unit_ptr, rows, columns, query, key, batch, M, D, SCALE, BLOCK_N, BLOCK_K, BLOCK_D, ACC
            )
            slope = weight[:, None] * tl.exp(logits - forth[:, None])
            slope += other_weight[None, :] * tl.exp(logits - back[None, :])
            slope = tl.where(is_alternative, slope, 0.0)
            keys = load_rows(unit_ptr, columns, key, first_dim, batch, M, D, BLOCK_D)
            gradient = tl.dot(slope.to(keys.dtype), keys, gradient, input_precision="ieee", out_dtype=ACC)
        own = own_logits(unit_ptr, rows, query, key, batch, M, D, SCALE, BLOCK_N, BLOCK_D, ACC)
        back = tl.load(back_ptr + rows, mask=in_batch, other=0.0)
        slope = weight * (tl.exp(own - forth) - 1 + (tl.exp(own - back) - 1))
        gradient += slope[:, None] * load_rows(unit_ptr, rows, key, first_dim, batch, M, D, BLOCK_D).to(ACC)

    gradient *= tl.load(grad_ptr).to(ACC) * SCALE / 2 / batch
    dims = first_dim + tl.arange(0, BLOCK_D)
    tl.store(
        grad_unit_ptr + (rows[:, None] * M + query) * D + dims[None, :],
        gradient.to(grad_unit_ptr.dtype.element_ty),
        mask=in_batch[:, None] & (dims < D)[None, :],
    )


def launch_sizes(width: int) -> dict[str, int]:
    """Block sizes for rows of a width: a pure function, so that nothing is tuned behind the user's back.

    16 rows a program make 256 programs of a batch of 2048 with two modalities, about two for each multiprocessor. Tiles
    of 16 x 64 x 64 in two stages fit AMD's 64 KB of shared memory and do not spill; wider rows go through in steps,
    with fewer keys, because the steps' registers come on top.
    """
    block_k, block_d = 64 if width <= 64 else 32, min(64, max(16, triton.next_power_of_2(width)))
    stages = 2 if width <= 64 else 3  # with two, one of Triton's versions spills at three modalities of 128
    return {"BLOCK_N": 16, "BLOCK_K": block_k, "BLOCK_D": block_d, "num_warps": 4, "num_stages": stages}


def infonce_forward_triton(
    unit: Tensor, weight: Tensor, nodes: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    batch, modalities, width = unit.shape
    directions = modalities * (modalities - 1)
    dtype = accumulation_dtype(unit.dtype)
    logsumexp = unit.new_empty(directions, batch, dtype=dtype)
    losses = torch.empty_like(logsumexp)
    if batch:
        sizes = launch_sizes(width)
        infonce_forward_kernel[(triton.cdiv(batch, sizes["BLOCK_N"]), directions)](
            unit.contiguous(),
            nodes.contiguous(),
            logsumexp,
            losses,
            batch,
            M=modalities,
            D=width,
            SCALE=1 / temperature,
            ACC=accumulator(unit.dtype),
            **sizes,
        )
    per_node = losses.sum(0) / (2 * max(batch, 1))
    return (weight * per_node).sum().to(unit.dtype), per_node, logsumexp


def infonce_backward_triton(
    grad: Tensor, unit: Tensor, weight: Tensor, nodes: Tensor, logsumexp: Tensor, temperature: float
) -> Tensor:
    batch, modalities, width = unit.shape
    grad_unit = torch.empty_like(unit, memory_format=torch.contiguous_format)
    if grad_unit.numel():
        sizes = launch_sizes(width)
        grid = triton.cdiv(batch, sizes["BLOCK_N"]), modalities, triton.cdiv(width, sizes["BLOCK_D"])
        infonce_backward_kernel[grid](
            grad,
            unit.contiguous(),
            weight.contiguous(),
            nodes.contiguous(),
            logsumexp,
            grad_unit,
            batch,
            M=modalities,
            D=width,
            SCALE=1 / temperature,
            ACC=accumulator(unit.dtype),
            **sizes,
        )
    return grad_unit
