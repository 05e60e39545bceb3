"""Contrast within a batch: of each row with its counterpart, among everybody's (SLMRec, MGCN, SMORE)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES_PER_BLOCK = 256  # whose logits, in a batch of 2048, stay in a core's second-level cache


class InfoNCE(torch.autograd.Function):
    """Cross entropy of finding one's own row of ``keys`` (B, D) among all by <query, key> / tau, mean over ``queries``.

    One direction, and copies of a row's own node stay among the alternatives: ``kernels.infonce`` has both directions
    and leaves copies out. The gradients are made beside the loss, while a block's softmax is at hand: the B x B numbers
    are not kept.
    """

    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
        losses, grad_queries, grad_keys = [], [], torch.zeros_like(keys)
        size = QUERIES_PER_BLOCK if queries.device.type == "cpu" else max(len(queries), 1)
        for start, block in zip(range(0, len(queries), size), queries.split(size)):
            logits = block @ (keys.T / temperature)  # (block, B)
            softmax = torch.softmax(logits, dim=1)
            # The largest softmax is exp(largest logit - logsumexp), and never as small as to vanish.
            logsumexp = logits.amax(1) - softmax.amax(1).log()
            losses.append(logsumexp - logits.diagonal(start))
            softmax.diagonal(start).sub_(1)  # the gradient of the logits
            grad_queries.append(softmax @ keys)
            grad_keys += softmax.T @ block
        ctx.save_for_backward(torch.cat(grad_queries), grad_keys)
        ctx.scale = 1 / (len(queries) * temperature)
        return torch.cat(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        grad_queries, grad_keys = ctx.saved_tensors
        return grad_queries * (grad * ctx.scale), grad_keys * (grad * ctx.scale), None
