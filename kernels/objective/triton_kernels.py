"""GPU path of objective: the losses' own kernels, whose partial sums and gradients are added up by few of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..bpr import triton_kernels as bpr
from ..node_losses import triton_kernels as node_losses
from ..node_losses.triton_kernels import side_losses, sum_in_order
from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work
from .operands import Operands, by_kind

BLOCK = 1024  # numbers of each table that a program squares


@triton.jit(launch_metadata=metrics_of(work.squares))
def squares_kernel(
    norms_ptr,  # (N, M)
    users_ptr,  # (B,)
    user_logits_ptr,  # (U, M), read when SHRINK
    item_logits_ptr,  # (I, M), likewise
    partial_ptr,  # (3, programs): sums of the program's numbers of each
    batch_numbers,
    user_numbers,
    item_numbers,
    M: tl.constexpr,
    SHRINK: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    program, programs = tl.program_id(0), tl.num_programs(0)
    places = program.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    in_batch = places < batch_numbers
    rows = tl.load(users_ptr + places // M, mask=in_batch, other=0).to(tl.int64)
    norms = tl.load(norms_ptr + rows * M + places % M, mask=in_batch, other=0.0).to(ACC)
    tl.store(partial_ptr + program, tl.sum(norms * norms, axis=0))
    if SHRINK:
        users = tl.load(user_logits_ptr + places, mask=places < user_numbers, other=0.0).to(ACC)
        items = tl.load(item_logits_ptr + places, mask=places < item_numbers, other=0.0).to(ACC)
        tl.store(partial_ptr + programs + program, tl.sum(users * users, axis=0))
        tl.store(partial_ptr + 2 * programs + program, tl.sum(items * items, axis=0))


@triton.jit(launch_metadata=metrics_of(work.add_up))
def add_up_kernel(
    user_partial_ptr,  # (P + 1, user_programs) of node_losses
    user_pair_norms_ptr,  # (P,), written when MDA == "fro"
    item_partial_ptr,  # (P + 1, item_programs)
    item_pair_norms_ptr,  # (P,)
    ranking_ptr,  # (ranking_programs, M + 1) of bpr
    squares_ptr,  # (3, square_programs)
    weights_ptr,  # (M + 4,)
    parts_ptr,  # (M + 4,)
    user_programs,
    item_programs,
    ranking_programs,
    square_programs,
    num_users,
    num_items,
    batch,
    embeddings,
    preferences,
    M: tl.constexpr,
    P: tl.constexpr,
    MDA: tl.constexpr,
    MSA: tl.constexpr,
    SHRINK: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    mda, msa = side_losses(user_partial_ptr, user_pair_norms_ptr, user_programs, num_users, P, MDA, MSA, BLOCK_P, ACC)
    item_mda, item_msa = side_losses(
        item_partial_ptr, item_pair_norms_ptr, item_programs, num_items, P, MDA, MSA, BLOCK_P, ACC
    )
    places = tl.arange(0, BLOCK_M)
    total = tl.zeros((BLOCK_R, BLOCK_M), dtype=ACC)
    for first in range(0, ranking_programs, BLOCK_R):
        rows = first + tl.arange(0, BLOCK_R)
        total += tl.load(
            ranking_ptr + rows.to(tl.int64)[:, None] * (M + 1) + places[None, :],
            mask=(rows < ranking_programs)[:, None] & (places <= M)[None, :],
            other=0.0,
        )
    ranking = tl.sum(total, axis=0) / tl.maximum(batch, 1)
    regulariser = sum_in_order(squares_ptr, square_programs, BLOCK_R, ACC) / embeddings
    if SHRINK:
        users = sum_in_order(squares_ptr + square_programs, square_programs, BLOCK_R, ACC)
        items = sum_in_order(squares_ptr + 2 * square_programs, square_programs, BLOCK_R, ACC)
        regulariser += (users + items) / preferences

    parts = tl.where(places <= M, ranking, 0.0)
    parts = tl.where(places == M + 1, mda + item_mda, parts)
    parts = tl.where(places == M + 2, msa + item_msa, parts)
    parts = tl.where(places == M + 3, regulariser, parts)
    parts *= tl.load(weights_ptr + places, mask=places < M + 4, other=0.0).to(ACC)
    tl.store(parts_ptr + places, parts.to(parts_ptr.dtype.element_ty), mask=places < M + 4)


@triton.jit(launch_metadata=metrics_of(work.squares_backward))
def squares_backward_kernel(
    grad_ptr,  # () of the regulariser
    norms_ptr,  # (N, M)
    sorted_ptr,  # (B,) the batch's users, ascending
    ends_ptr,  # (B,) where those of the same user end
    user_logits_ptr,  # (U, M), read when SHRINK
    item_logits_ptr,  # (I, M), likewise
    grad_norms_ptr,  # (N, M)
    grad_user_logits_ptr,  # (U, M)
    grad_item_logits_ptr,  # (I, M)
    batch,
    halvings,
    norm_numbers,
    user_numbers,
    item_numbers,
    embeddings,
    preferences,
    M: tl.constexpr,
    SHRINK: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    slope = tl.load(grad_ptr).to(ACC) * 2
    # How often the batch has the row: where it would stand among the sorted ones, and up to where it does.
    rows, exists = places // M, places < norm_numbers
    low = tl.zeros((BLOCK,), dtype=tl.int32)
    high = low + batch
    for _ in range(halvings):
        middle = (low + high) // 2
        is_open = low < high
        after = tl.load(sorted_ptr + middle, mask=is_open & exists, other=0) < rows
        low = tl.where(is_open & after, middle + 1, low)
        high = tl.where(is_open & (after == 0), middle, high)
    found = exists & (low < batch)
    found = found & (tl.load(sorted_ptr + low, mask=found, other=-1) == rows)
    count = tl.load(ends_ptr + low, mask=found, other=0) - low
    norms = tl.load(norms_ptr + places, mask=found, other=0.0).to(ACC)
    grad_norms = tl.where(found, slope / embeddings * count.to(ACC) * norms, 0.0)
    tl.store(grad_norms_ptr + places, grad_norms.to(grad_norms_ptr.dtype.element_ty), mask=exists)

    of_users = tl.zeros((BLOCK,), dtype=ACC)
    of_items = tl.zeros((BLOCK,), dtype=ACC)
    if SHRINK:
        of_users = tl.load(user_logits_ptr + places, mask=places < user_numbers, other=0.0).to(ACC)
        of_items = tl.load(item_logits_ptr + places, mask=places < item_numbers, other=0.0).to(ACC)
        of_users *= slope / preferences
        of_items *= slope / preferences
    element_type = grad_user_logits_ptr.dtype.element_ty
    tl.store(grad_user_logits_ptr + places, of_users.to(element_type), mask=places < user_numbers)
    tl.store(grad_item_logits_ptr + places, of_items.to(element_type), mask=places < item_numbers)


def objective_forward_triton(*operands) -> tuple[Tensor, Tensor, list[Tensor]]:
    given = Operands(*operands)
    (num_users, modalities, _), num_items = given.h_users.shape, given.h_items.shape[0]
    acc = accumulator(given.h_users.dtype)
    (user_statistics, user_partial), (item_statistics, item_partial) = (
        node_losses.launch_forward(*side, given.mda, given.msa) for side in given.sides()
    )
    slopes, ranking = bpr.launch_forward(*given.of_bpr())
    batch_numbers = given.users.numel() * modalities
    numbers = batch_numbers, given.user_logits.numel(), given.item_logits.numel()
    programs = triton.cdiv(max(numbers if given.shrink else numbers[:1]), BLOCK)
    squares = given.h_users.new_empty(3, programs, dtype=accumulation_dtype(given.h_users.dtype))
    if programs:
        squares_kernel[(programs,)](
            given.norms.contiguous(),
            given.users.contiguous(),
            given.user_logits.contiguous(),
            given.item_logits.contiguous(),
            squares,
            *numbers,
            M=modalities,
            SHRINK=given.shrink,
            BLOCK=BLOCK,
            ACC=acc,
        )
    parts = given.weights.new_empty(modalities + 4)
    add_up_kernel[(1,)](
        user_partial,
        user_statistics[4],
        item_partial,
        item_statistics[4],
        ranking,
        squares,
        given.weights.contiguous(),
        parts,
        user_partial.shape[1],
        item_partial.shape[1],
        ranking.shape[0],
        programs,
        num_users,
        num_items,
        given.users.numel(),
        *given.counts(),
        M=modalities,
        P=modalities * (modalities - 1) // 2,
        MDA=given.mda,
        MSA=given.msa,
        SHRINK=given.shrink,
        BLOCK_P=4096,
        BLOCK_R=512,
        BLOCK_M=triton.next_power_of_2(modalities + 4),
        ACC=acc,
        num_warps=8,
    )
    return parts, slopes, [*user_statistics, *item_statistics]


def objective_backward_triton(
    grad: Tensor, slopes: Tensor, statistics: Sequence[Tensor], learns_users: bool, learns_items: bool, *operands
) -> list[Tensor]:
    given = Operands(*operands)
    upstream = grad * given.weights
    *_, grad_mda, grad_msa, grad_regulariser = upstream.unbind()
    grad_h, grad_trades = [], []
    for number, ((h, *_), trade, learns) in enumerate(
        zip(given.sides(), (given.user_trade, given.item_trade), (learns_users, learns_items))
    ):
        kept = statistics[5 * number : 5 * number + 5]
        logits = by_kind(trade if learns else None)
        grad_side, grad_trade = node_losses.node_losses_backward_triton(
            grad_mda, grad_msa, h, *logits, *kept, given.mda, given.msa
        )
        grad_h.append(grad_side)
        grad_trades.append(
            grad_trade if learns and trade is not None else grad_trade.new_empty(0, dtype=statistics[0].dtype)
        )

    triples = given.users.contiguous(), given.positives.contiguous(), given.negatives.contiguous()
    entries = bpr.sorted_entries(*triples)
    tables = given.norms.contiguous(), given.user_logits.contiguous(), given.item_logits.contiguous()
    gradients = [torch.empty_like(table) for table in tables]
    (users, _, ends), batch = entries[0], given.users.numel()
    programs = triton.cdiv(max(table.numel() for table in tables), BLOCK)
    if programs:
        squares_backward_kernel[(programs,)](
            grad_regulariser,
            tables[0],
            users,
            ends,
            *tables[1:],
            *gradients,
            batch,
            batch.bit_length(),
            *(table.numel() for table in tables),
            *given.counts(),
            M=given.h_users.shape[1],
            SHRINK=given.shrink,
            BLOCK=BLOCK,
            ACC=accumulator(given.h_users.dtype),
        )
    grad_norms, grad_user_logits, grad_item_logits = gradients
    fused = grad_user_logits, grad_item_logits if given.fuse_items else None
    bpr.add_gradients(upstream[:-3], slopes, entries, triples, *given.of_bpr(), onto=(*grad_h, *fused))
    return [*grad_h, *gradients, *grad_trades]
