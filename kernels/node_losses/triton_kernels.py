"""GPU path of node_losses: a program owns a few nodes and reads each of their rows once, in either direction.

The forward pass leaves per-node scalars (norms, cosines, distances): the backward pass needs no sum along a row.
"""

from __future__ import annotations

from itertools import combinations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..support import accumulation_dtype
from ..triton_support import accumulator, metrics_of
from . import work
from .forms import COSINE_EPS, needs_cosines, needs_distances


@triton.constexpr_function
def pair_of(p, q, M):
    """Place of two modalities among the pairs v < t, in the order of itertools.combinations."""
    return list(combinations(range(M), 2)).index((min(p, q), max(p, q)))


@triton.jit
def preferences(
    logits_ptr,  # (N, M)
    nodes,
    in_side,
    M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    ACC: tl.constexpr,
):
    """(BLOCK_N, BLOCK_M) addresses, their mask and alpha of eq. 5, 0 where there is no modality."""
    modalities = tl.arange(0, BLOCK_M)
    exists = (modalities < M)[None, :]
    entries = nodes[:, None] * M + modalities[None, :]
    mask = in_side[:, None] & exists
    logits = tl.where(exists, tl.load(logits_ptr + entries, mask=mask, other=0.0).to(ACC), -float("inf"))
    powers = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return entries, mask, powers / tl.sum(powers, axis=1)[:, None]


@triton.jit
def lowest(alpha, M: tl.constexpr, BLOCK_M: tl.constexpr):
    """(BLOCK_N,) smallest preference of each node."""
    return tl.min(tl.where((tl.arange(0, BLOCK_M) < M)[None, :], alpha, float("inf")), axis=1)


@triton.jit(launch_metadata=metrics_of(work.node_losses_forward))
def node_losses_forward_kernel(
    h_ptr,  # (N, M, D)
    logits_ptr,  # (N, M) for WEIGHT == "preference", (N,) for "free", else not read
    w_dif_ptr,  # (N,)
    norms_ptr,  # (N, M), written when COSINES
    cosines_ptr,  # (N, P) for P pairs of modalities, written when COSINES
    distances_ptr,  # (N, P), written when DISTANCES
    partial_ptr,  # (P + 1, programs): sums over the program's nodes, a row per pair for MDA, the last for MSA
    num_nodes,
    M: tl.constexpr,
    P: tl.constexpr,
    D: tl.constexpr,
    WEIGHT: tl.constexpr,
    MDA: tl.constexpr,
    MSA: tl.constexpr,
    COSINES: tl.constexpr,
    DISTANCES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EPS: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    nodes = program * BLOCK_N + tl.arange(0, BLOCK_N)
    in_side = nodes < num_nodes
    dims = tl.arange(0, BLOCK_D)
    entries = nodes[:, None] * (M * D) + dims[None, :]
    mask = in_side[:, None] & (dims < D)[None, :]

    rows = ()
    for m in tl.static_range(M):
        rows = rows + (tl.load(h_ptr + entries + m * D, mask=mask, other=0.0).to(ACC),)

    if WEIGHT == "preference":
        _, _, alpha = preferences(logits_ptr, nodes, in_side, M, BLOCK_M, ACC)
        w_dif = tl.max(alpha, axis=1) - lowest(alpha, M, BLOCK_M)
    elif WEIGHT == "free":
        w_dif = 1 / (1 + tl.exp(-tl.load(logits_ptr + nodes, mask=in_side, other=0.0).to(ACC)))
    else:
        w_dif = tl.full((BLOCK_N,), 0.5, dtype=ACC)
    tl.store(w_dif_ptr + nodes, w_dif, mask=in_side)

    norms = ()
    if COSINES:
        smallest = tl.full((BLOCK_N,), EPS, dtype=ACC)
        for m in tl.static_range(M):
            norm = tl.maximum(tl.sqrt(tl.sum(rows[m] * rows[m], axis=1)), smallest)
            tl.store(norms_ptr + nodes * M + m, norm, mask=in_side)
            norms = norms + (norm,)

    programs = tl.num_programs(0)
    msa = tl.zeros((BLOCK_N,), dtype=ACC)
    for p in tl.static_range(M):
        for q in tl.static_range(p + 1, M):
            pair = pair_of(p, q, M)
            mda = tl.zeros((BLOCK_N,), dtype=ACC)
            if DISTANCES:
                difference = rows[p] - rows[q]
                distance = tl.sqrt(tl.sum(difference * difference, axis=1))
                tl.store(distances_ptr + nodes * P + pair, distance, mask=in_side)
                mda = w_dif * distance
                if MDA == "fro":
                    mda *= mda
            if COSINES:
                cosine = tl.sum(rows[p] * rows[q], axis=1) / (norms[p] * norms[q])
                tl.store(cosines_ptr + nodes * P + pair, cosine, mask=in_side)
                if MDA == "abs_cos":
                    mda = w_dif * tl.abs(cosine)
                if MSA == "cosine":
                    msa += (1 - w_dif) * (1 - cosine)
            if MDA != "none":
                tl.store(partial_ptr + pair * programs + program, tl.sum(mda, axis=0))
    if MSA != "none":
        tl.store(partial_ptr + P * programs + program, tl.sum(tl.where(in_side, msa, 0.0), axis=0))


@triton.jit
def ratio_or_zero(numerator, denominator):
    """0 where the denominator is 0."""
    positive = denominator > 0
    return tl.where(positive, numerator / tl.where(positive, denominator, 1.0), 0.0)


@triton.jit
def sum_in_order(
    partial_ptr,  # (programs,)
    programs,
    BLOCK_P: tl.constexpr,
    ACC: tl.constexpr,
):
    total = tl.zeros((BLOCK_P,), dtype=ACC)
    for first in range(0, programs, BLOCK_P):
        places = first + tl.arange(0, BLOCK_P)
        total += tl.load(partial_ptr + places, mask=places < programs, other=0.0)
    return tl.sum(total, axis=0)


@triton.jit
def side_losses(
    partial_ptr,  # (P + 1, programs)
    pair_norms_ptr,  # (P,), written when MDA == "fro"
    programs,
    num_nodes,
    P: tl.constexpr,
    MDA: tl.constexpr,
    MSA: tl.constexpr,
    BLOCK_P: tl.constexpr,
    ACC: tl.constexpr,
):
    """MDA and MSA of a side."""
    mda = tl.full((), 0.0, dtype=ACC)
    msa = tl.full((), 0.0, dtype=ACC)
    if MDA != "none":
        for pair in tl.static_range(P):
            total = sum_in_order(partial_ptr + pair * programs, programs, BLOCK_P, ACC)
            if MDA == "fro":
                total = tl.sqrt(total)
                tl.store(pair_norms_ptr + pair, total)
            mda += total
        if MDA != "fro":
            mda /= tl.maximum(num_nodes, 1)
        if MDA != "abs_cos":
            mda = -mda
    if MSA != "none":
        msa += sum_in_order(partial_ptr + P * programs, programs, BLOCK_P, ACC) / tl.maximum(num_nodes, 1)
    return mda, msa


@triton.jit(launch_metadata=metrics_of(work.add_partials))
def add_partials_kernel(
    partial_ptr,  # (P + 1, programs)
    mda_ptr,  # ()
    msa_ptr,  # ()
    pair_norms_ptr,  # (P,), written when MDA == "fro"
    programs,
    num_nodes,
    P: tl.constexpr,
    MDA: tl.constexpr,
    MSA: tl.constexpr,
    BLOCK_P: tl.constexpr,
    ACC: tl.constexpr,
):
    mda, msa = side_losses(partial_ptr, pair_norms_ptr, programs, num_nodes, P, MDA, MSA, BLOCK_P, ACC)
    tl.store(mda_ptr, mda.to(mda_ptr.dtype.element_ty))
    tl.store(msa_ptr, msa.to(msa_ptr.dtype.element_ty))


@triton.jit(launch_metadata=metrics_of(work.node_losses_backward))
def node_losses_backward_kernel(
    grad_mda_ptr,  # ()
    grad_msa_ptr,  # ()
    h_ptr,  # (N, M, D)
    logits_ptr,  # (N, M), read for WEIGHT == "preference"
    w_dif_ptr,  # (N,)
    norms_ptr,  # (N, M), read when COSINES
    cosines_ptr,  # (N, P), read when COSINES
    distances_ptr,  # (N, P), read when DISTANCES
    pair_norms_ptr,  # (P,), read when MDA == "fro"
    grad_h_ptr,  # (N, M, D)
    grad_logits_ptr,  # (N, M) for WEIGHT == "preference", (N,) for "free", else not written
    num_nodes,
    M: tl.constexpr,
    P: tl.constexpr,
    D: tl.constexpr,
    WEIGHT: tl.constexpr,
    MDA: tl.constexpr,
    MSA: tl.constexpr,
    COSINES: tl.constexpr,
    DISTANCES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EPS: tl.constexpr,
    ACC: tl.constexpr,
):
    nodes = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_side = nodes < num_nodes
    dims = tl.arange(0, BLOCK_D)
    entries = nodes[:, None] * (M * D) + dims[None, :]
    mask = in_side[:, None] & (dims < D)[None, :]

    rows = ()
    for m in tl.static_range(M):
        rows = rows + (tl.load(h_ptr + entries + m * D, mask=mask, other=0.0).to(ACC),)

    grad_msa = tl.load(grad_msa_ptr).to(ACC) / num_nodes
    grad_mda = tl.load(grad_mda_ptr).to(ACC)
    if MDA != "fro":
        grad_mda /= num_nodes
    w_dif = tl.load(w_dif_ptr + nodes, mask=in_side, other=0.0)
    grad_w = tl.zeros((BLOCK_N,), dtype=ACC)
    smallest = tl.full((BLOCK_N,), EPS, dtype=ACC)

    for p in tl.static_range(M):
        grad = tl.zeros((BLOCK_N, BLOCK_D), dtype=ACC)
        for q in tl.static_range(M):
            if p != q:
                pair = pair_of(p, q, M)
                if DISTANCES:
                    distance = tl.load(distances_ptr + nodes * P + pair, mask=in_side, other=0.0)
                    per_distance = grad_mda
                    if MDA == "fro":
                        pair_norm = tl.load(pair_norms_ptr + pair)
                        per_distance = ratio_or_zero(grad_mda * w_dif * distance, pair_norm)
                    if p < q:
                        grad_w -= per_distance * distance
                    # Where two rows coincide the distance has no slope; its subgradient 0 is taken.
                    slope = ratio_or_zero(per_distance * w_dif, distance)
                    grad -= slope[:, None] * (rows[p] - rows[q])
                if COSINES:
                    cosine = tl.load(cosines_ptr + nodes * P + pair, mask=in_side, other=0.0)
                    own_norm = tl.load(norms_ptr + nodes * M + p, mask=in_side, other=1.0)
                    other_norm = tl.load(norms_ptr + nodes * M + q, mask=in_side, other=1.0)
                    slope = tl.zeros((BLOCK_N,), dtype=ACC)
                    if MDA == "abs_cos":
                        sign = tl.where(cosine > 0, 1.0, tl.where(cosine < 0, -1.0, 0.0))
                        slope += grad_mda * w_dif * sign
                        if p < q:
                            grad_w += grad_mda * tl.abs(cosine)
                    if MSA == "cosine":
                        slope -= grad_msa * (1 - w_dif)
                        if p < q:
                            grad_w -= grad_msa * (1 - cosine)
                    # At the smallest norm a cosine divides by a constant, which has no slope.
                    own = tl.where(own_norm > smallest, slope * cosine / (own_norm * own_norm), 0.0)
                    grad += (slope / (own_norm * other_norm))[:, None] * rows[q] - own[:, None] * rows[p]
        tl.store(grad_h_ptr + entries + p * D, grad.to(grad_h_ptr.dtype.element_ty), mask=mask)

    if WEIGHT == "preference":
        logits, exist, alpha = preferences(logits_ptr, nodes, in_side, M, BLOCK_M, ACC)
        # Modalities that share the highest or the lowest preference share its slope, as with PyTorch's amax and amin.
        at_highest = (alpha == tl.max(alpha, axis=1)[:, None]).to(ACC)
        at_lowest = tl.where(exist, (alpha == lowest(alpha, M, BLOCK_M)[:, None]).to(ACC), 0.0)
        at_lowest /= tl.maximum(tl.sum(at_lowest, axis=1), 1.0)[:, None]
        grad_alpha = (at_highest / tl.sum(at_highest, axis=1)[:, None] - at_lowest) * grad_w[:, None]
        grad_logits = alpha * (grad_alpha - tl.sum(grad_alpha * alpha, axis=1)[:, None])
        tl.store(grad_logits_ptr + logits, grad_logits.to(grad_logits_ptr.dtype.element_ty), mask=exist)
    elif WEIGHT == "free":
        grad_logits = grad_w * w_dif * (1 - w_dif)
        tl.store(grad_logits_ptr + nodes, grad_logits.to(grad_logits_ptr.dtype.element_ty), mask=in_side)


def launch_sizes(modalities: int, width: int, dtype: torch.dtype) -> dict[str, int]:
    """Block sizes for rows of a width, a pure function.

    A thread holds 64 bytes of rows, four 16-byte loads in flight, and leaves room for enough other threads.
    """
    block_m, block_d = triton.next_power_of_2(modalities), triton.next_power_of_2(max(width, 1))
    numbers = 1024 if dtype == torch.float64 else 2048
    block_n = max(1, numbers // (block_m * block_d))
    num_warps = min(16, max(4, 4 * block_n * block_m * block_d // numbers))
    return {"BLOCK_N": block_n, "BLOCK_M": block_m, "BLOCK_D": block_d, "num_warps": num_warps}


def launch_forward(
    h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
) -> tuple[tuple[Tensor, ...], Tensor]:
    """What the backward pass takes, of which the pairs' norms are not yet written, and the programs' sums."""
    h = h.contiguous()
    num_nodes, modalities, width = h.shape
    pairs = modalities * (modalities - 1) // 2
    cosines, distances = needs_cosines(mda, msa), needs_distances(mda)
    exact = accumulation_dtype(h.dtype)

    def empty(*shape: int, dtype: torch.dtype = exact) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=h.device)

    statistics = (
        empty(num_nodes),
        empty(num_nodes, modalities if cosines else 0),
        empty(num_nodes, pairs if cosines else 0),
        empty(num_nodes, pairs if distances else 0),
        empty(pairs if mda == "fro" else 0),
    )
    sizes = launch_sizes(modalities, width, h.dtype)
    programs = triton.cdiv(num_nodes, sizes["BLOCK_N"])
    partial = empty(pairs + 1, programs)
    weight, logits = _weight_source(preference_logits, free_logits, h)
    if programs:
        node_losses_forward_kernel[(programs,)](
            h,
            logits,
            *statistics[:4],
            partial,
            num_nodes,
            M=modalities,
            P=pairs,
            D=width,
            WEIGHT=weight,
            MDA=mda,
            MSA=msa,
            COSINES=cosines,
            DISTANCES=distances,
            EPS=COSINE_EPS,
            ACC=accumulator(h.dtype),
            **sizes,
        )
    return statistics, partial


def node_losses_forward_triton(
    h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
) -> tuple[Tensor, ...]:
    statistics, partial = launch_forward(h, preference_logits, free_logits, mda, msa)
    losses = h.new_empty(()), h.new_empty(())
    add_partials_kernel[(1,)](
        partial,
        *losses,
        statistics[4],
        partial.shape[1],
        h.shape[0],
        P=partial.shape[0] - 1,
        MDA=mda,
        MSA=msa,
        BLOCK_P=4096,
        ACC=accumulator(h.dtype),
        num_warps=8,
    )
    return *losses, *statistics


def node_losses_backward_triton(
    grad_mda: Tensor,
    grad_msa: Tensor,
    h: Tensor,
    preference_logits: Tensor | None,
    free_logits: Tensor | None,
    w_dif: Tensor,
    norms: Tensor,
    cosines: Tensor,
    distances: Tensor,
    pair_norms: Tensor,
    mda: str,
    msa: str,
) -> tuple[Tensor, Tensor]:
    h = h.contiguous()
    num_nodes, modalities, width = h.shape
    weight, logits = _weight_source(preference_logits, free_logits, h)
    grad_h = torch.empty_like(h)
    grad_logits = torch.empty(0 if weight == "constant" else logits.shape, dtype=logits.dtype, device=h.device)
    if num_nodes:
        sizes = launch_sizes(modalities, width, h.dtype)
        node_losses_backward_kernel[(triton.cdiv(num_nodes, sizes["BLOCK_N"]),)](
            grad_mda,
            grad_msa,
            h,
            logits,
            w_dif,
            norms,
            cosines,
            distances,
            pair_norms,
            grad_h,
            grad_logits,
            num_nodes,
            M=modalities,
            P=modalities * (modalities - 1) // 2,
            D=width,
            WEIGHT=weight,
            MDA=mda,
            MSA=msa,
            COSINES=needs_cosines(mda, msa),
            DISTANCES=needs_distances(mda),
            EPS=COSINE_EPS,
            ACC=accumulator(h.dtype),
            **sizes,
        )
    return grad_h, grad_logits


def _weight_source(preference_logits: Tensor | None, free_logits: Tensor | None, h: Tensor) -> tuple[str, Tensor]:
    """Which weights of eq. 8, and their logits; for constant weights any tensor, which is not read."""
    if preference_logits is not None:
        return "preference", preference_logits.contiguous()
    if free_logits is not None:
        return "free", free_logits.contiguous()
    return "constant", h
