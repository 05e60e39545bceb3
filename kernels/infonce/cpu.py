"""CPU path of infonce: the similarities are made block by block, and made again in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS_PER_BLOCK = 512


def _block_logits(query: Tensor, key: Tensor, nodes: Tensor, start: int, temperature: float) -> Tensor:
    """(block, B) similarities / temperature, other copies of the query's own node at -inf."""
    stop = min(start + ROWS_PER_BLOCK, query.shape[0])
    logits = (query[start:stop] @ key.T).div_(temperature)
    same_node = nodes[start:stop, None] == nodes[None, :]
    same_node.diagonal(start).fill_(False)
    return logits.masked_fill_(same_node, float("-inf"))


class ContrastFunction(torch.autograd.Function):
    """sum_n weight_n (logsumexp_k <query_n, key_k> / tau - <query_n, key_n> / tau), one direction."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, weight: Tensor, nodes: Tensor, temperature: float) -> Tensor:
        batch = query.shape[0]
        logsumexp = query.new_empty(batch)
        for start in range(0, batch, ROWS_PER_BLOCK):
            block = _block_logits(query, key, nodes, start, temperature)
            logsumexp[start : start + ROWS_PER_BLOCK] = torch.logsumexp(block, dim=1)
        per_node = logsumexp - (query * key).sum(1) / temperature
        ctx.save_for_backward(query, key, weight, nodes, logsumexp, per_node)
        ctx.temperature = temperature
        return weight.dot(per_node)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        query, key, weight, nodes, logsumexp, per_node = ctx.saved_tensors
        slope = (grad * weight / ctx.temperature)[:, None]
        grad_query, grad_key = -slope * key, -slope * query
        for start in range(0, query.shape[0], ROWS_PER_BLOCK):
            rows = slice(start, start + ROWS_PER_BLOCK)
            block = _block_logits(query, key, nodes, start, ctx.temperature)
            block = block.sub_(logsumexp[rows, None]).exp_().mul_(slope[rows])
            grad_query[rows] += block @ key
            grad_key += block.T @ query[rows]
        return grad_query, grad_key, grad * per_node, None, None
