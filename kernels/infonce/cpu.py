"""CPU path of infonce: the similarities are made block by block, and made again in the backward pass."""

from __future__ import annotations

from itertools import combinations, permutations

import torch
from torch import Tensor

from ..support import accumulation_dtype

ROWS_PER_BLOCK = 512


def ordered_pairs(modalities: int) -> dict[tuple[int, int], int]:
    """(query's modality, key's modality) of each direction, with its row in the tensors that have one per direction."""
    return {pair: row for row, pair in enumerate(permutations(range(modalities), 2))}


def _block_logits(first: Tensor, second: Tensor, nodes: Tensor, start: int, temperature: float) -> Tensor:
    """(block, B) similarities / temperature, other copies of a row's own node at -inf."""
    stop = min(start + ROWS_PER_BLOCK, first.shape[0])
    logits = (first[start:stop] @ second.T).div_(temperature)
    same_node = nodes[start:stop, None] == nodes[None, :]
    same_node.diagonal(start).fill_(False)
    return logits.masked_fill_(same_node, float("-inf"))


def infonce_forward_cpu(
    unit: Tensor, weight: Tensor, nodes: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulation_dtype(unit.dtype)
    rows = unit.to(dtype).unbind(1)
    pairs, batch = ordered_pairs(len(rows)), unit.shape[0]
    logsumexp = torch.full((len(pairs), batch), float("-inf"), dtype=dtype, device=unit.device)
    per_node = torch.zeros(batch, dtype=dtype, device=unit.device)
    for v, t in combinations(range(len(rows)), 2):
        # One block of similarities serves both directions: its rows are v's queries, its columns t's.
        forth, back = logsumexp[pairs[v, t]], logsumexp[pairs[t, v]]
        for start in range(0, batch, ROWS_PER_BLOCK):
            logits = _block_logits(rows[v], rows[t], nodes, start, temperature)
            forth[start : start + ROWS_PER_BLOCK] = torch.logsumexp(logits, dim=1)
            torch.logaddexp(back, torch.logsumexp(logits, dim=0), out=back)
        per_node += forth + back - (rows[v] * rows[t]).sum(1) * (2 / temperature)
    per_node /= 2 * max(batch, 1)
    return (weight * per_node).sum().to(unit.dtype), per_node, logsumexp


def infonce_backward_cpu(
    grad: Tensor, unit: Tensor, weight: Tensor, nodes: Tensor, logsumexp: Tensor, temperature: float
) -> Tensor:
    dtype = accumulation_dtype(unit.dtype)
    rows, weight = unit.to(dtype).unbind(1), weight.to(dtype)
    pairs, batch = ordered_pairs(len(rows)), unit.shape[0]
    grad_unit = torch.zeros(unit.shape, dtype=dtype, device=unit.device)
    for v, t in combinations(range(len(rows)), 2):
        for start in range(0, batch, ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            logits = _block_logits(rows[v], rows[t], nodes, start, temperature)
            slope = (logits - logsumexp[pairs[v, t], block, None]).exp_().mul_(weight[block, None])
            slope += logits.sub_(logsumexp[pairs[t, v]]).exp_().mul_(weight)
            slope.diagonal(start).sub_(2 * weight[block])
            grad_unit[block, v] += slope @ rows[t]
            grad_unit[:, t] += slope.T @ rows[v][block]
    return grad_unit.mul_(grad.to(dtype) / (2 * max(batch, 1) * temperature)).to(unit.dtype)
