"""Contrast of a batch's rows with their counterparts, among the batch's (SLMRec, MGCN, SMORE) or all (LGMRec)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOGITS_PER_BLOCK = 2**25  # on a GPU
QUERIES_PER_BLOCK = 256  # whose logits, in a batch of 2048, stay in a core's second-level cache


class InfoNCE(torch.autograd.Function):
    """Cross entropy of finding one's own row of ``keys`` (K, D) among all by <query, key> / tau, mean over ``queries``.

    Which row is a query's own say ``targets`` (B,), else it is that of its number. One direction, and copies of a row's
    own node stay among the alternatives: ``kernels.infonce`` has both directions and leaves copies out. The gradients
    are made beside the loss, while a block's softmax is at hand: the B x K numbers are not kept.
    """

    @staticmethod
    def forward(ctx, queries: Tensor, keys: Tensor, temperature: float, targets: Tensor | None = None) -> Tensor:
        losses, grad_queries, grad_keys = [], [], torch.zeros_like(keys)
        most = QUERIES_PER_BLOCK if queries.device.type == "cpu" else LOGITS_PER_BLOCK // max(len(keys), 1)
        size = max(min(len(queries), most), 1)
        for start, block in zip(range(0, len(queries), size), queries.split(size)):
            logits = block @ (keys.T / temperature)  # (block, K)
            softmax = torch.softmax(logits, dim=1)
            # The largest softmax is exp(largest logit - logsumexp), and never as small as to vanish.
            logsumexp = logits.amax(1) - softmax.amax(1).log()
            # The gradient of the logits is the softmax, less one in a query's own place.
            if targets is None:
                losses.append(logsumexp - logits.diagonal(start))
                softmax.diagonal(start).sub_(1)
            else:
                own = targets[start : start + size, None]
                losses.append(logsumexp - logits.gather(1, own)[:, 0])
                softmax.scatter_add_(1, own, torch.full_like(own, -1, dtype=softmax.dtype))
            grad_queries.append(softmax @ keys)
            grad_keys += softmax.T @ block
        ctx.save_for_backward(torch.cat(grad_queries), grad_keys)
        ctx.scale = 1 / (len(queries) * temperature)
        return torch.cat(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        grad_queries, grad_keys = ctx.saved_tensors
        return grad_queries * (grad * ctx.scale), grad_keys * (grad * ctx.scale), None, None
