"""GPU path of bpr: the forward pass keeps a slope per score pair, the backward pass gathers the triples' rows again.

A row that is in many triples gets many contributions. They are added up without atomics, always in the same order: ids
are sorted, so that the entries of one row (its triples, and for an item whether it is the positive or the negative)
stand together; they are cut at every PIECE-th position, each piece is added up by a program, and a row of several
pieces gets its sum from a second kernel. A batch of usual size is sorted by counting: of each entry, how many come
before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work
from .operands import Operands

# Most rows are in one or two triples of a batch; a popular item in 500 becomes 125 pieces, added up side by side.
PIECE = 4
TRIPLES = 4  # of a program of the forward pass
COUNTED = 4096  # entries that are sorted by counting, 16 million comparisons; PyTorch has three kernels for as many


@triton.jit
def load_rows(
    table_ptr,  # (R, M, D)
    rows,  # (BLOCK,)
    exists,  # (BLOCK,)
    first_dim,
    M: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK, BLOCK_M, BLOCK_D) of a table, 0 outside of it."""
    modalities = tl.arange(0, BLOCK_M)[None, :, None]
    dims = first_dim + tl.arange(0, BLOCK_D)[None, None, :]
    return tl.load(
        table_ptr + (rows[:, None, None] * M + modalities) * D + dims,
        mask=exists[:, None, None] & (modalities < M) & (dims < D),
        other=0.0,
    ).to(ACC)


@triton.jit
def load_preferences(
    logits_ptr,  # (R, M), read when HAS_LOGITS
    rows,  # (BLOCK,)
    exists,  # (BLOCK,)
    HAS_LOGITS: tl.constexpr,
    M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK, BLOCK_M) softmax over the modalities; without logits a weight of 1."""
    modalities = tl.arange(0, BLOCK_M)[None, :]
    is_modality = exists[:, None] & (modalities < M)
    if HAS_LOGITS:
        logits = tl.load(logits_ptr + rows[:, None] * M + modalities, mask=is_modality, other=0.0).to(ACC)
        logits = tl.where(modalities < M, logits, -float("inf"))
        exponentials = tl.exp(logits - tl.max(logits, axis=1, keep_dims=True))
        weight = exponentials / tl.sum(exponentials, axis=1, keep_dims=True)
    else:
        weight = is_modality.to(ACC)
    return weight


@triton.jit
def minus_log_sigmoid(x):
    """-log sigmoid(x) and sigmoid(-x), from exp(-|x|), which cannot overflow."""
    small = tl.exp(-tl.abs(x))
    total = 1 + small
    # log(1 + small); where the sum is rounded, the quotient takes the rounding out again.
    log = tl.where(total == 1, small, tl.log(total) * (small / tl.where(total == 1, 1, total - 1)))
    return tl.maximum(-x, 0) + log, tl.where(x > 0, small, 1) / total


@triton.jit(launch_metadata=metrics_of(work.bpr_forward))
def bpr_forward_kernel(
    h_users_ptr,  # (U, M, D)
    h_items_ptr,  # (I, M, D)
    users_ptr,  # (B,)
    positives_ptr,  # (B,)
    negatives_ptr,  # (B,)
    user_logits_ptr,  # (U, M), read when HAS_USER_LOGITS
    item_logits_ptr,  # (I, M), read when HAS_ITEM_LOGITS
    slopes_ptr,  # (B, M + 1)
    partial_ptr,  # (programs, M + 1): fused loss, the modalities' losses
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    SUM_FUSION: tl.constexpr,
    HAS_USER_LOGITS: tl.constexpr,
    HAS_ITEM_LOGITS: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    triples = program * BLOCK_B + tl.arange(0, BLOCK_B)
    exists = triples < batch
    users = tl.load(users_ptr + triples, mask=exists, other=0).to(tl.int64)
    positives = tl.load(positives_ptr + triples, mask=exists, other=0).to(tl.int64)
    negatives = tl.load(negatives_ptr + triples, mask=exists, other=0).to(tl.int64)
    user_weight = load_preferences(user_logits_ptr, users, exists, HAS_USER_LOGITS, M, BLOCK_M, ACC)
    positive_weight = load_preferences(item_logits_ptr, positives, exists, HAS_ITEM_LOGITS, M, BLOCK_M, ACC)
    negative_weight = load_preferences(item_logits_ptr, negatives, exists, HAS_ITEM_LOGITS, M, BLOCK_M, ACC)

    positive_score = tl.zeros((BLOCK_B, BLOCK_M), dtype=ACC)
    negative_score = tl.zeros((BLOCK_B, BLOCK_M), dtype=ACC)
    fused = tl.zeros((BLOCK_B,), dtype=ACC)
    for first_dim in range(0, D, BLOCK_D):
        user = load_rows(h_users_ptr, users, exists, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
        positive = load_rows(h_items_ptr, positives, exists, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
        negative = load_rows(h_items_ptr, negatives, exists, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
        positive_score += tl.sum(user * positive, axis=2)
        negative_score += tl.sum(user * negative, axis=2)
        if SUM_FUSION:
            fused_user = tl.sum(user_weight[:, :, None] * user, axis=1)
            fused_items = tl.sum(
                positive_weight[:, :, None] * positive - negative_weight[:, :, None] * negative, axis=1
            )
            fused += tl.sum(fused_user * fused_items, axis=1)
    if not SUM_FUSION:
        fused = tl.sum(user_weight * (positive_weight * positive_score - negative_weight * negative_score), axis=1)

    fused_loss, fused_slope = minus_log_sigmoid(fused)
    loss, slope = minus_log_sigmoid(positive_score - negative_score)
    modalities = tl.arange(0, BLOCK_M)
    tl.store(slopes_ptr + triples * (M + 1), fused_slope, mask=exists)
    tl.store(
        slopes_ptr + triples[:, None] * (M + 1) + 1 + modalities[None, :],
        slope,
        mask=exists[:, None] & (modalities < M)[None, :],
    )
    partial = partial_ptr + program * (M + 1)
    tl.store(partial, tl.sum(tl.where(exists, fused_loss, 0.0), axis=0))
    tl.store(partial + 1 + modalities, tl.sum(tl.where(exists[:, None], loss, 0.0), axis=0), mask=modalities < M)


@triton.jit(launch_metadata=metrics_of(work.add_up_losses))
def add_up_losses_kernel(
    partial_ptr,  # (programs, M + 1)
    losses_ptr,  # (M + 1,)
    programs,
    batch,
    M: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    places = tl.arange(0, BLOCK_M)
    total = tl.zeros((BLOCK_P, BLOCK_M), dtype=ACC)
    for first in range(0, programs, BLOCK_P):
        rows = first + tl.arange(0, BLOCK_P)
        total += tl.load(
            partial_ptr + rows.to(tl.int64)[:, None] * (M + 1) + places[None, :],
            mask=(rows < programs)[:, None] & (places <= M)[None, :],
            other=0.0,
        )
    mean = tl.sum(total, axis=0) / batch
    tl.store(losses_ptr + places, mean.to(losses_ptr.dtype.element_ty), mask=places <= M)


@triton.jit(launch_metadata=metrics_of(work.sort_entries))
def sort_entries_kernel(
    users_ptr,  # (B,)
    positives_ptr,  # (B,)
    negatives_ptr,  # (B,)
    sorted_ptr,  # (3 * B,) the users' rows, ascending, then the items'
    order_ptr,  # (3 * B,) entries in that order, as bpr_backward takes them
    ends_ptr,  # (3 * B,) where the entries of the same row end
    batch,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    are_items = tl.program_id(1)
    count = batch * (1 + are_items)
    entries = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    if tl.program_id(0) * BLOCK_P < count:
        rows = load_entries(users_ptr, positives_ptr, negatives_ptr, entries, batch, are_items)
        place = tl.zeros((BLOCK_P,), dtype=tl.int32)
        end = tl.zeros((BLOCK_P,), dtype=tl.int32)
        for first in range(0, count, BLOCK_O):
            others = first + tl.arange(0, BLOCK_O)
            other_rows = load_entries(users_ptr, positives_ptr, negatives_ptr, others, batch, are_items)
            exists = (others < count)[None, :]
            equal = (other_rows[None, :] == rows[:, None]) & exists
            smaller = (other_rows[None, :] < rows[:, None]) & exists
            place += tl.sum((smaller | (equal & (others[None, :] < entries[:, None]))).to(tl.int32), axis=1)
            end += tl.sum((smaller | equal).to(tl.int32), axis=1)
        place += batch * are_items
        tl.store(sorted_ptr + place, rows, mask=entries < count)
        tl.store(order_ptr + place, entries.to(tl.int64), mask=entries < count)
        tl.store(ends_ptr + place, end.to(tl.int64), mask=entries < count)


@triton.jit
def load_entries(
    users_ptr,
    positives_ptr,
    negatives_ptr,
    entries,  # (BLOCK,)
    batch,
    are_items,
):
    """(BLOCK,) rows of entries: of users, or of positives and after them negatives."""
    items = batch * are_items  # of each kind
    users = tl.load(users_ptr + entries, mask=entries < batch - items, other=0)
    positives = tl.load(positives_ptr + entries, mask=entries < items, other=0)
    negatives = tl.load(negatives_ptr + entries - items, mask=(entries >= batch) & (entries < 2 * items), other=0)
    return users.to(tl.int64) + positives.to(tl.int64) + negatives.to(tl.int64)


@triton.jit(launch_metadata=metrics_of(work.bpr_backward))
def bpr_backward_kernel(
    rows_ptr,  # (R, M, D): h_users, or h_items when ITEMS
    logits_ptr,  # (R, M), read when HAS_LOGITS
    others_ptr,  # (S, M, D): h_items, or h_users when ITEMS
    other_logits_ptr,  # (S, M), read when HAS_OTHER_LOGITS
    sorted_ptr,  # (entries,) row of each entry, ascending
    order_ptr,  # (entries,) the entries in that order; e < B: triple e; e >= B: triple e - B with its negative
    ends_ptr,  # (entries,) where the entries of the same row end
    users_ptr,  # (B,)
    positives_ptr,  # (B,)
    negatives_ptr,  # (B,)
    slopes_ptr,  # (B, M + 1)
    grad_losses_ptr,  # (M + 1,)
    grad_rows_ptr,  # (R, M, D)
    grad_logits_ptr,  # (R, M)
    partial_rows_ptr,  # (slots, M, D)
    partial_logits_ptr,  # (slots, M)
    batch,
    M: tl.constexpr,
    D: tl.constexpr,
    ITEMS: tl.constexpr,
    SUM_FUSION: tl.constexpr,
    HAS_LOGITS: tl.constexpr,
    HAS_OTHER_LOGITS: tl.constexpr,
    ADDS: tl.constexpr,  # onto what the gradients hold
    PIECE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACC: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64)
    end = tl.load(ends_ptr + position)
    is_first = tl.load(ends_ptr + position - 1, mask=position > 0, other=0) != end
    if (position % PIECE != 0) & (not is_first):
        return
    row = tl.load(sorted_ptr + position).to(tl.int64)
    piece = position // PIECE
    stop = tl.minimum(end, (piece + 1) * PIECE)
    is_whole = is_first & (stop == end)
    slot = piece * 2 + is_first.to(tl.int64)

    positions = position + tl.arange(0, PIECE)
    exists = positions < stop
    entry = tl.load(order_ptr + positions, mask=exists, other=0)
    triple = entry % batch
    modalities = tl.arange(0, BLOCK_M)[None, :]
    is_modality = modalities < M

    # d loss / d (score of the positive - score of the negative), fused and of each modality.
    fused_slope = tl.load(slopes_ptr + triple * (M + 1), mask=exists, other=0.0)
    fused_slope *= -tl.load(grad_losses_ptr).to(ACC) / batch
    slope = tl.load(
        slopes_ptr + triple[:, None] * (M + 1) + 1 + modalities, mask=exists[:, None] & is_modality, other=0.0
    )
    slope *= -tl.load(grad_losses_ptr + 1 + modalities, mask=is_modality, other=0.0).to(ACC) / batch

    if ITEMS:
        sign = tl.where(entry < batch, 1.0, -1.0).to(ACC)
        fused_slope *= sign
        slope *= sign[:, None]
        other_rows = tl.load(users_ptr + triple, mask=exists, other=0).to(tl.int64)
    else:
        other_rows = tl.load(positives_ptr + triple, mask=exists, other=0).to(tl.int64)
        negative_rows = tl.load(negatives_ptr + triple, mask=exists, other=0).to(tl.int64)
        negative_weight = load_preferences(other_logits_ptr, negative_rows, exists, HAS_OTHER_LOGITS, M, BLOCK_M, ACC)
    other_weight = load_preferences(other_logits_ptr, other_rows, exists, HAS_OTHER_LOGITS, M, BLOCK_M, ACC)

    # A block of one row, so that it broadcasts over the entries.
    block = tl.full((1,), row, tl.int64)
    always = tl.full((1,), 1, tl.int1)
    weight = load_preferences(logits_ptr, block, always, HAS_LOGITS, M, BLOCK_M, ACC)
    grad_weight = tl.zeros((1, BLOCK_M), dtype=ACC)
    for first_dim in range(0, D, BLOCK_D):
        other = load_rows(others_ptr, other_rows, exists, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
        weighted = other_weight[:, :, None] * other
        if not ITEMS:
            negative = load_rows(others_ptr, negative_rows, exists, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
            weighted -= negative_weight[:, :, None] * negative
            other -= negative
        # (1, BLOCK_M, BLOCK_D): the fused scores' part of the gradient is weight * fused, that of weight <row, fused>.
        fused = tl.sum(fused_slope[:, None, None] * weighted, axis=0, keep_dims=True)
        if SUM_FUSION:
            fused = tl.sum(fused, axis=1, keep_dims=True)
        gradient = weight[:, :, None] * fused + tl.sum(slope[:, :, None] * other, axis=0, keep_dims=True)
        if HAS_LOGITS:
            own = load_rows(rows_ptr, block, always, first_dim, M, D, BLOCK_M, BLOCK_D, ACC)
            grad_weight += tl.sum(own * fused, axis=2)
        dims = first_dim + tl.arange(0, BLOCK_D)[None, None, :]
        offsets = modalities[:, :, None] * D + dims
        inside = is_modality[:, :, None] & (dims < D)
        if is_whole:
            if ADDS:
                gradient += tl.load(grad_rows_ptr + row * M * D + offsets, mask=inside, other=0.0).to(ACC)
            tl.store(grad_rows_ptr + row * M * D + offsets, gradient.to(grad_rows_ptr.dtype.element_ty), mask=inside)
        else:
            tl.store(partial_rows_ptr + slot * M * D + offsets, gradient, mask=inside)
    if HAS_LOGITS:
        grad_logits = weight * grad_weight
        grad_logits -= weight * tl.sum(grad_logits, axis=1, keep_dims=True)
        if is_whole:
            if ADDS:
                grad_logits += tl.load(grad_logits_ptr + row * M + modalities, mask=is_modality, other=0.0).to(ACC)
            tl.store(
                grad_logits_ptr + row * M + modalities,
                grad_logits.to(grad_logits_ptr.dtype.element_ty),
                mask=is_modality,
            )
        else:
            tl.store(partial_logits_ptr + slot * M + modalities, grad_logits, mask=is_modality)


@triton.jit(launch_metadata=metrics_of(work.add_up_pieces))
def add_up_pieces_kernel(
    sorted_ptr,  # (entries,)
    ends_ptr,  # (entries,)
    partial_rows_ptr,  # (slots, M, D): two for every PIECE positions, of the row that comes from before and of the last
    partial_logits_ptr,  # (slots, M)
    grad_rows_ptr,  # (R, M, D)
    grad_logits_ptr,  # (R, M)
    M: tl.constexpr,
    D: tl.constexpr,
    HAS_LOGITS: tl.constexpr,
    ADDS: tl.constexpr,
    PIECE: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    first_piece = tl.program_id(0).to(tl.int64)
    last_position = (first_piece + 1) * PIECE - 1
    end = tl.load(ends_ptr + last_position)
    before = tl.load(ends_ptr + first_piece * PIECE - 1, mask=first_piece > 0, other=0)
    if (end == last_position + 1) | (before == end):
        return  # no row begins among these positions and goes on after them
    row = tl.load(sorted_ptr + last_position).to(tl.int64)
    stop = tl.cdiv(end, PIECE)

    columns = tl.program_id(1) * BLOCK_W + tl.arange(0, BLOCK_W)
    modalities = tl.arange(0, BLOCK_M)
    total = tl.zeros((BLOCK_W,), dtype=ACC)
    total_logits = tl.zeros((BLOCK_M,), dtype=ACC)
    for first in range(first_piece, stop, BLOCK_S):
        pieces = first + tl.arange(0, BLOCK_S)
        slots = pieces * 2 + (pieces == first_piece).to(tl.int64)
        exists = (pieces < stop)[:, None]
        partial = tl.load(
            partial_rows_ptr + slots[:, None] * (M * D) + columns[None, :],
            mask=exists & (columns < M * D)[None, :],
            other=0.0,
        )
        total += tl.sum(partial, axis=0)
        if HAS_LOGITS:
            partial_logits = tl.load(
                partial_logits_ptr + slots[:, None] * M + modalities[None, :],
                mask=exists & (modalities < M)[None, :],
                other=0.0,
            )
            total_logits += tl.sum(partial_logits, axis=0)
    if ADDS:
        total += tl.load(grad_rows_ptr + row * (M * D) + columns, mask=columns < M * D, other=0.0).to(ACC)
    gradient = total.to(grad_rows_ptr.dtype.element_ty)
    tl.store(grad_rows_ptr + row * (M * D) + columns, gradient, mask=columns < M * D)
    if HAS_LOGITS:
        if tl.program_id(1) == 0:
            if ADDS:
                total_logits += tl.load(grad_logits_ptr + row * M + modalities, mask=modalities < M, other=0.0).to(ACC)
            grad_logits = total_logits.to(grad_logits_ptr.dtype.element_ty)
            tl.store(grad_logits_ptr + row * M + modalities, grad_logits, mask=modalities < M)


def launch_sizes(modalities: int, width: int) -> dict[str, int]:
    """Block sizes for rows of M x D: a pure function, so that nothing is tuned behind the user's back.

    One warp loads four rows of 2 x 64 of each table at once, 16 float32 a lane and table: enough in flight to hide the
    latency of a gather, and 16 such programs fit on a multiprocessor.
    """
    block_m = triton.next_power_of_2(modalities)
    block_d = min(triton.next_power_of_2(width), max(128 // block_m, 16))
    return {"BLOCK_M": block_m, "BLOCK_D": block_d, "num_warps": 1}


def piece_sizes(modalities: int, width: int) -> dict[str, int]:
    """Block sizes for adding up pieces: 16 of them at a time by one warp, whose sums wait for no other warp."""
    block_w = min(128, triton.next_power_of_2(modalities * width))
    return {"BLOCK_S": 16, "BLOCK_W": block_w, "BLOCK_M": triton.next_power_of_2(modalities), "num_warps": 1}


def launch_forward(*operands) -> tuple[Tensor, Tensor]:
    """The slopes of each triple, and the sums of each program."""
    h_users, h_items, users, positives, negatives, user_logits, item_logits, fusion = Operands(*operands)
    batch, (_, modalities, width) = users.numel(), h_users.shape
    acc = accumulation_dtype(h_users.dtype)
    slopes = h_users.new_empty(batch, modalities + 1, dtype=acc)
    sizes = launch_sizes(modalities, width)
    programs = triton.cdiv(batch, TRIPLES)
    partial = h_users.new_empty(programs, modalities + 1, dtype=acc)
    if batch == 0:
        return slopes, partial
    h_users = h_users.contiguous()
    bpr_forward_kernel[(programs,)](
        h_users,
        h_items.contiguous(),
        users.contiguous(),
        positives.contiguous(),
        negatives.contiguous(),
        _or(user_logits, h_users),
        _or(item_logits, h_users),
        slopes,
        partial,
        batch,
        M=modalities,
        D=width,
        SUM_FUSION=fusion == "sum",
        HAS_USER_LOGITS=user_logits is not None,
        HAS_ITEM_LOGITS=item_logits is not None,
        BLOCK_B=TRIPLES,
        ACC=accumulator(h_users.dtype),
        **sizes,
    )
    return slopes, partial


def bpr_forward_triton(*operands) -> tuple[Tensor, Tensor]:
    h_users, _, users, *_ = operands
    modalities = h_users.shape[1]
    losses = h_users.new_empty(modalities + 1)
    slopes, partial = launch_forward(*operands)
    if users.numel() == 0:
        return losses.zero_(), slopes
    add_up_losses_kernel[(1,)](
        partial,
        losses,
        partial.shape[0],
        users.numel(),
        M=modalities,
        BLOCK_P=256,
        BLOCK_M=triton.next_power_of_2(modalities + 1),
        ACC=accumulator(h_users.dtype),
    )
    return losses, slopes


def bpr_backward_triton(grad_losses: Tensor, slopes: Tensor, *operands) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    given = Operands(*operands)
    triples = given.users.contiguous(), given.positives.contiguous(), given.negatives.contiguous()
    tables = given.h_users, given.h_items, given.user_logits, given.item_logits
    onto = [None if table is None else table.new_zeros(table.shape) for table in tables]
    entries = sorted_entries(*triples)
    add_gradients(grad_losses.contiguous(), slopes, entries, triples, *operands, onto=onto, adds=False)
    h_users, h_items, user_logits, item_logits = (
        given.h_users.new_empty(0) if gradient is None else gradient for gradient in onto
    )
    return h_users, h_items, user_logits, item_logits


def add_gradients(
    grad_losses: Tensor,
    slopes: Tensor,
    entries: tuple[tuple[Tensor, ...], ...],
    triples: tuple[Tensor, Tensor, Tensor],
    *operands,
    onto: Sequence[Tensor | None],
    adds: bool = True,
) -> None:
    """Gradients of both tables' rows and logits, for the rows that the triples name.

    Args:
        entries: of :func:`sorted_entries`.
        onto: gradients of h_users, h_items and of the logits that there are, contiguous.
        adds: to what they hold; if not, they hold zeros.
    """
    h_users, h_items, _, _, _, user_logits, item_logits, fusion = Operands(*operands)
    h_users, h_items = h_users.contiguous(), h_items.contiguous()
    upstream = slopes, grad_losses
    users, items = (h_users, user_logits), (h_items, item_logits)
    _add_to_side(*users, *items, onto[0], onto[2], entries[0], triples, upstream, fusion, False, adds)
    _add_to_side(*items, *users, onto[1], onto[3], entries[1], triples, upstream, fusion, True, adds)


def sorted_entries(users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Of users, then of items: rows of entries, ascending; the entries in this order; where those of a row end."""
    batch = users.numel()
    if not 0 < 2 * batch <= COUNTED:
        ids = users, torch.cat([positives, negatives])
        found = [torch.sort(each, stable=True) for each in ids]
        return tuple((rows, order, torch.searchsorted(rows, rows, right=True)) for rows, order in found)
    found = [torch.empty(3 * batch, dtype=torch.int64, device=users.device) for _ in range(3)]
    # Sixteen entries against 512 at a time: more of these spill registers.
    sizes = {"BLOCK_P": 16, "BLOCK_O": 512, "num_warps": 8}
    grid = triton.cdiv(2 * batch, sizes["BLOCK_P"]), 2
    sort_entries_kernel[grid](users, positives, negatives, *found, batch, **sizes)
    return tuple(each[:batch] for each in found), tuple(each[batch:] for each in found)


def _add_to_side(
    rows: Tensor,
    logits: Tensor | None,
    others: Tensor,
    other_logits: Tensor | None,
    grad_rows: Tensor,
    grad_logits: Tensor | None,
    entries: tuple[Tensor, ...],
    triples: tuple[Tensor, Tensor, Tensor],
    upstream: tuple[Tensor, Tensor],
    fusion: str,
    are_items: bool,
    adds: bool,
) -> None:
    """:func:`add_gradients` for users or for items."""
    (rows_of_entries, _, ends), (_, modalities, width) = entries, rows.shape
    count = ends.numel()
    if count == 0:
        return
    grad_logits = grad_rows if grad_logits is None else grad_logits
    pieces = triton.cdiv(count, PIECE)
    acc = accumulation_dtype(rows.dtype)
    partial_rows = rows.new_empty(2 * pieces, modalities, width, dtype=acc)
    partial_logits = rows.new_empty(2 * pieces, modalities, dtype=acc)
    sizes = launch_sizes(modalities, width)
    bpr_backward_kernel[(count,)](
        rows,
        _or(logits, rows),
        others,
        _or(other_logits, rows),
        *entries,
        *triples,
        *upstream,
        grad_rows,
        grad_logits,
        partial_rows,
        partial_logits,
        triples[0].numel(),
        M=modalities,
        D=width,
        ITEMS=are_items,
        SUM_FUSION=fusion == "sum",
        HAS_LOGITS=logits is not None,
        HAS_OTHER_LOGITS=other_logits is not None,
        ADDS=adds,
        PIECE=PIECE,
        ACC=accumulator(rows.dtype),
        **sizes,
    )
    if count > PIECE:
        # The last piece of all is left out: no row goes on after it.
        sizes = piece_sizes(modalities, width)
        add_up_pieces_kernel[(pieces - 1, triton.cdiv(modalities * width, sizes["BLOCK_W"]))](
            rows_of_entries,
            ends,
            partial_rows,
            partial_logits,
            grad_rows,
            grad_logits,
            M=modalities,
            D=width,
            HAS_LOGITS=logits is not None,
            ADDS=adds,
            PIECE=PIECE,
            ACC=accumulator(rows.dtype),
            **sizes,
        )


def _or(tensor: Tensor | None, instead: Tensor) -> Tensor:
    """A pointer for a kernel that does not read it: an argument cannot be left out."""
    return instead if tensor is None else tensor.contiguous()
