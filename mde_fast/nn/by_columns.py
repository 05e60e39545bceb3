"""Row-wise operators on tables of which each process has some columns: partial sums, one sum over processes, the rest.

They are those of :mod:`mde_fast.kernels` under the same names, with a :class:`mde_fast.world.World` before their
arguments. One process that has all columns runs the kernels as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .. import kernels
from ..kernels.node_losses.cpu import losses_of_statistics
from ..kernels.node_losses.forms import COSINE_EPS, needs_cosines, needs_distances
from ..kernels.node_losses.primitives import node_losses_backward
from ..kernels.node_losses.weights import difference_weight
from ..kernels.normalize_rows.cpu import NORM_EPS, parts
from ..kernels.objective import by_kind
from ..kernels.support import accumulation_dtype
from ..world import World
from .tables import mean_squares


def vector_norm(world: World, x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Norms over ``dim``, which goes over the columns; of zeros the gradient is zero."""
    if world.size == 1:
        return torch.linalg.vector_norm(x, dim=dim)
    return world.total(x.square().sum(dim)).clamp_min(torch.finfo(x.dtype).tiny).sqrt()


def normalize_rows_with_norms(
    world: World, *tables: Tensor | Sequence[Tensor], scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """As :func:`mde_fast.kernels.normalize_rows_with_norms`, of tables (..., D / P); norms are of the whole rows."""
    if world.size == 1:
        return kernels.normalize_rows_with_norms(*tables, scale=scale)
    whole = (table if isinstance(table, Tensor) else torch.stack(list(table), dim=1) for table in tables)
    return _NormalizeRows.apply(world, scale, *whole)


class _NormalizeRows(torch.autograd.Function):
    """As the operator's own, with a sum over processes of a number per row in each direction."""

    @staticmethod
    def forward(ctx, world: World, scale: float, *tables: Tensor) -> tuple[Tensor, Tensor]:
        first, *_ = tables
        exact = accumulation_dtype(first.dtype)
        squares = torch.cat([table.to(exact).square().sum(-1) for table in tables])
        norms = world.sum(squares).sqrt_().clamp_min_(NORM_EPS)
        out = torch.cat(tables) if len(tables) > 1 else first.clone()
        out.mul_((scale / norms).unsqueeze(-1))
        ctx.save_for_backward(norms, *tables)
        ctx.world, ctx.scale = world, scale
        return out, norms

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, grad_norms: Tensor):
        norms, *tables = ctx.saved_tensors
        partial = torch.cat([(dy.to(x.dtype) * x).sum(-1, dtype=norms.dtype) for x, dy in parts(tables, grad)])
        along = ctx.world.sum(partial).mul_(ctx.scale).div_(norms)  # <dy, s x / |x|>
        along.sub_(grad_norms * norms)
        along = torch.where(norms > NORM_EPS, along, 0.0).div_(norms).div_(norms)
        gradients = [
            torch.addcmul(dy * (ctx.scale / norm).unsqueeze(-1), x, of_row.unsqueeze(-1), value=-1).to(x.dtype)
            for x, dy, norm, of_row in parts(tables, grad, norms, along)
        ]
        return None, None, *gradients


def bpr(
    world: World,
    h_users: Tensor,
    h_items: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    user_logits: Tensor | None = None,
    item_logits: Tensor | None = None,
    fusion: str = "concat",
) -> Tensor:
    """As :func:`mde_fast.kernels.bpr`, of h (U, M, D / P) and (I, M, D / P), and of logits that all processes have.

    What is summed over processes are the inner products of a triple: 1 or 2 for each modality, or 2 for each two of
    them where they are added.
    """
    if world.size == 1:
        logits = {"user_logits": user_logits, "item_logits": item_logits}
        return kernels.bpr(h_users, h_items, users, positives, negatives, **logits, fusion=fusion)
    exact, (modalities, width) = accumulation_dtype(h_users.dtype), h_users.shape[1:]
    ids = torch.cat([positives, negatives])
    user = F.embedding(users, h_users.flatten(1)).to(exact).view(-1, modalities, width)
    items = F.embedding(ids, h_items.flatten(1)).to(exact).view(-1, modalities, width)
    positive, negative = items.tensor_split(2)
    user_weight = None if user_logits is None else torch.softmax(F.embedding(users, user_logits).to(exact), 1)
    item_weights = [None, None]
    if item_logits is not None:
        item_weights = list(torch.softmax(F.embedding(ids, item_logits).to(exact), 1).tensor_split(2))
    if fusion == "sum":
        of_pairs = torch.stack([user @ item.transpose(1, 2) for item in (positive, negative)])  # (2, B, M, M)
        scores = list(world.total(of_pairs).unbind(0))
        own = [score.diagonal(dim1=1, dim2=2) for score in scores]
        weighted = [
            _weighed(_weighed(score, weight, dim=2), user_weight, dim=1) for score, weight in zip(scores, item_weights)
        ]
        fused, apart = weighted[0] - weighted[1], own[0] - own[1]
    elif item_logits is None:
        apart = world.total((user * (positive - negative)).sum(2))  # (B, M)
        fused = _weighed(apart, user_weight, dim=1)
    else:
        scores = list(world.total(torch.stack([(user * item).sum(2) for item in (positive, negative)])).unbind(0))
        weighted = [score * weight for score, weight in zip(scores, item_weights) if weight is not None]
        fused, apart = _weighed(weighted[0] - weighted[1], user_weight, dim=1), scores[0] - scores[1]
    differences = torch.cat([fused[:, None], apart], dim=1)
    return (-F.logsigmoid(differences).sum(0) / max(len(users), 1)).to(h_users.dtype)


def _weighed(scores: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    """The sum over modalities of scores (B, ..., M, ...), in dimension ``dim``, each times its weight (B, M)."""
    if weight is None:
        return scores.sum(dim)
    return (scores * (weight[:, None] if dim == 2 else weight[:, :, None] if scores.ndim == 3 else weight)).sum(dim)


def node_losses(
    world: World,
    h: Tensor,
    *,
    preference_logits: Tensor | None = None,
    free_logits: Tensor | None = None,
    detach: bool = True,
    mda: str = "row_l2",
    msa: str = "cosine",
) -> tuple[Tensor, Tensor]:
    """As :func:`mde_fast.kernels.node_losses`, of h (N, M, D / P) and of logits that all processes have.

    What is summed over processes are numbers of a node: a square for each modality and a product for each pair where
    there are cosines, a square for each pair where there are distances.
    """
    if world.size == 1:
        logits = {"preference_logits": preference_logits, "free_logits": free_logits}
        return kernels.node_losses(h, **logits, detach=detach, mda=mda, msa=msa)
    if detach and preference_logits is not None:
        preference_logits = preference_logits.detach()
    return _NodeLosses.apply(world, h, preference_logits, free_logits, mda, msa)


def objective(
    world: World,
    h_users: Tensor,
    h_items: Tensor,
    norms: Tensor,
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    *,
    user_logits: Tensor,
    item_logits: Tensor,
    user_trade: Tensor | None,
    item_trade: Tensor | None,
    detach: bool,
    fuse_items: bool,
    shrink: bool,
    fusion: str,
    mda: str,
    msa: str,
) -> Tensor:
    """As :func:`mde_fast.kernels.objective`, of h (U, M, D / P) and (I, M, D / P); all else every process has."""
    if world.size == 1:
        return kernels.objective(
            *(h_users, h_items, norms, users, positives, negatives, weights),
            user_logits=user_logits,
            item_logits=item_logits,
            user_trade=user_trade,
            item_trade=item_trade,
            detach=detach,
            fuse_items=fuse_items,
            shrink=shrink,
            fusion=fusion,
            mda=mda,
            msa=msa,
        )
    fused_items = item_logits if fuse_items else None
    ranking = bpr(
        *(world, h_users, h_items, users, positives, negatives),
        user_logits=user_logits,
        item_logits=fused_items,
        fusion=fusion,
    )
    sides = []
    for h, trade in ((h_users, user_trade), (h_items, item_trade)):
        preference, free = by_kind(trade)
        sides.append(
            node_losses(world, h, preference_logits=preference, free_logits=free, detach=detach, mda=mda, msa=msa)
        )
    regulariser = mean_squares(norms, users, h_users.shape[2] * world.size)
    if shrink:
        squares = user_logits.square().sum() + item_logits.square().sum()
        regulariser = regulariser + squares / max(user_logits.numel() + item_logits.numel(), 1)
    losses = *ranking, sides[0][0] + sides[1][0], sides[0][1] + sides[1][1], regulariser
    return weights * torch.stack([loss.to(weights.dtype) for loss in losses])


class _NodeLosses(torch.autograd.Function):
    """The backward pass is the operator's own: it combines columns by scalars of a node, which are of whole rows."""

    @staticmethod
    def forward(
        ctx, world: World, h: Tensor, preference_logits: Tensor | None, free_logits: Tensor | None, mda: str, msa: str
    ) -> tuple[Tensor, Tensor]:
        exact, modalities = accumulation_dtype(h.dtype), h.shape[1]
        pairs = list(combinations(range(modalities), 2))
        partial = []
        if needs_cosines(mda, msa):
            partial += [h[:, m].square().sum(1, dtype=exact) for m in range(modalities)]
            partial += [(h[:, p] * h[:, q]).sum(1, dtype=exact) for p, q in pairs]
        if needs_distances(mda):
            partial += [(h[:, p] - h[:, q]).square().sum(1, dtype=exact) for p, q in pairs]
        total = world.sum(torch.stack(partial)) if partial else h.new_empty(0, len(h), dtype=exact)
        norms = cosines = distances = h.new_empty(len(h), 0, dtype=exact)
        if needs_distances(mda):
            distances = total[len(total) - len(pairs) :].sqrt().T.contiguous()
        if needs_cosines(mda, msa):
            norms = total[:modalities].sqrt().clamp_min(COSINE_EPS).T.contiguous()
            products = total[modalities : modalities + len(pairs)]
            cosines = torch.stack(
                [products[pair] / (norms[:, p] * norms[:, q]) for pair, (p, q) in enumerate(pairs)], dim=1
            )
        w_dif = difference_weight(
            len(h), preference_logits=preference_logits, free_logits=free_logits, detach=True, like=h
        ).to(exact)
        mda_loss, msa_loss, pair_norms = losses_of_statistics(w_dif, cosines, distances, mda, msa)
        _, _, learns_preference, learns_free, *_ = ctx.needs_input_grad
        ctx.save_for_backward(
            h,
            preference_logits if learns_preference else None,
            free_logits if learns_free else None,
            *(w_dif, norms, cosines, distances, pair_norms),
        )
        ctx.forms = mda, msa
        return mda_loss.to(h.dtype), msa_loss.to(h.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_mda: Tensor, grad_msa: Tensor):
        grad_h, grad_logits = node_losses_backward(grad_mda, grad_msa, *ctx.saved_tensors, *ctx.forms)
        _, _, learns_preference, learns_free, *_ = ctx.needs_input_grad
        logits = grad_logits if learns_preference else None, grad_logits if learns_free else None
        return None, grad_h, *logits, None, None
