"""A gradient of a gradient is either right or refused, never quietly wrong."""

import pytest
import torch
from comparing import assert_close
from operands import GRAPHS, SYMMETRIC_GRAPHS, random, random_ids
from support import forced

from mde_fast.kernels import (
    bpr,
    cosine_losses,
    dropout,
    edge_dots,
    edge_softmax,
    infonce,
    node_losses,
    normalize_rows,
    objective,
    project_rows,
    propagate,
    source_rows,
    spmm,
)


def _bpr(users, items, user_logits, item_logits):
    triples = [random_ids(5, 3, seed, users.device) for seed in range(3)]
    return bpr(users, items, *triples, user_logits=user_logits, item_logits=item_logits)


def _objective(users, items, norms, user_logits, item_logits):
    triples = [random_ids(5, 3, seed, users.device) for seed in range(3)]
    weights = torch.ones(6, dtype=users.dtype, device=users.device)
    return objective(users, items, norms, *triples, weights, user_logits=user_logits, item_logits=item_logits)


# name: (function of its tensors, their shapes)
OPERATORS = {
    "propagate": (lambda x: propagate(SYMMETRIC_GRAPHS["small"]().to(x.device), x), ((12, 2),)),
    "spmm": (lambda x: spmm(GRAPHS["square"]().to(x.device), x), ((6, 2),)),
    "spmm with learned values": (
        lambda x, values: spmm(GRAPHS["square"]().to(x.device), x, values=values),
        ((6, 2), (13,)),
    ),
    "edge_dots": (lambda left, right: edge_dots(GRAPHS["square"]().to(left.device), left, right), ((6, 2), (6, 2))),
    "edge_softmax": (lambda scores: edge_softmax(GRAPHS["square"]().to(scores.device), scores), ((13,),)),
    "source_rows": (lambda table: source_rows(GRAPHS["square"]().to(table.device), table), ((6, 2),)),
    "normalize_rows": (normalize_rows, ((4, 3),)),
    "dropout": (lambda x: dropout(x, 0.3, torch.tensor(1, device=x.device)).square(), ((4, 3),)),
    "project_rows": (
        lambda features, weight: project_rows(features, torch.tensor([2, 0, 2], device=features.device), weight),
        ((4, 3), (2, 3)),
    ),
    "node_losses": (lambda h, logits: node_losses(h, free_logits=logits), ((4, 2, 3), (4,))),
    "cosine_losses": (lambda x, target: cosine_losses(x, target, pairs=((0, 1), (1, 1))), ((4, 2, 3), (4, 2, 3))),
    "infonce": (
        lambda h, weight: infonce(h, weight=weight, nodes=torch.arange(4, device=h.device)),
        ((4, 2, 3), (4,)),
    ),
    "bpr": (_bpr, ((3, 2, 2), (3, 2, 2), (3, 2), (3, 2))),
    "objective": (_objective, ((3, 2, 2), (3, 2, 2), (6, 2), (3, 2), (3, 2))),
}


def _second_derivatives(function, shapes, device):
    """Of the sum of the squared gradients of a weighted sum of the outputs."""
    leaves = [random(*shape, seed=seed, device=device).requires_grad_() for seed, shape in enumerate(shapes)]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = [random(*output.shape, seed=10, device=device).requires_grad_() for output in outputs]
    gradients = torch.autograd.grad(outputs, leaves, upstream, create_graph=True)
    sum(gradient.square().sum() for gradient in gradients).backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in (*leaves, *upstream)]


@pytest.mark.parametrize("name", OPERATORS)
def test_right_or_refused(implementation, name, device):
    function, shapes = OPERATORS[name]
    with forced(implementation):
        try:
            actual = _second_derivatives(function, shapes, device)
        except RuntimeError as error:
            assert "once_differentiable" in str(error)
            return
    with forced("reference"):
        expected = _second_derivatives(function, shapes, device)
    for number, (one, other) in enumerate(zip(actual, expected)):
        assert_close(one, other, f"second derivative {number}")
