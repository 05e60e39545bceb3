"""The algebra that the operators rest on, written out with dense matrices in float64."""

from itertools import combinations

import pytest
import torch
from operands import SYMMETRIC_GRAPHS, dense, random
from support import evaluate, forced
from torch.nn import functional as F

from mde_fast.kernels import bpr, node_losses, propagate
from mde_fast.kernels.node_losses import difference_weight


@pytest.fixture
def adjacency():
    """D^-1/2 A D^-1/2 of a small user-item graph."""
    matrix = dense(SYMMETRIC_GRAPHS["small"]())
    scale = matrix.sum(1).clamp_min(1).rsqrt()
    return scale[:, None] * matrix * scale


def test_mean_over_layers_by_horner(adjacency):
    e = random(12, 4)
    layers = [e, adjacency @ e, adjacency @ adjacency @ e]
    torch.testing.assert_close((e + adjacency @ (e + adjacency @ e)) / 3, torch.stack(layers).mean(0))


def test_propagation_is_its_own_backward(any_implementation, device, adjacency):
    """The operator is symmetric: its vector-Jacobian product is the operator applied to the vector."""
    graph = SYMMETRIC_GRAPHS["small"]().to(device)
    x, upstream = random(12, 4, device=device).requires_grad_(), random(12, 4, seed=1, device=device)
    with forced(any_implementation):
        (gradient,) = torch.autograd.grad(propagate(graph, x), x, upstream)
        torch.testing.assert_close(gradient, propagate(graph, upstream))
    operator = (torch.eye(12, dtype=torch.float64) + adjacency + adjacency @ adjacency) / 3
    torch.testing.assert_close(gradient.cpu(), operator.T @ upstream.cpu())


def test_modalities_side_by_side(any_implementation, device):
    graph = SYMMETRIC_GRAPHS["small"]().to(device)
    image, text = random(12, 5, device=device), random(12, 5, seed=1, device=device)
    with forced(any_implementation):
        together = propagate(graph, torch.cat([image, text], dim=1))
        apart = torch.cat([propagate(graph, image), propagate(graph, text)], dim=1)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("modalities", (2, 3))
def test_fused_score_from_the_modalities_inner_products(any_implementation, device, modalities):
    """y = sum_m alpha_u,m alpha_i,m <H_m,u, H_m,i> is the inner product of the concatenations."""
    h_users, h_items = random(4, modalities, 6), random(5, modalities, 6, seed=1)
    user_logits, item_logits = random(4, modalities, seed=2), random(5, modalities, seed=3)
    alpha_users, alpha_items = user_logits.softmax(1), item_logits.softmax(1)
    e_users = (alpha_users[:, :, None] * h_users).flatten(1)
    e_items = (alpha_items[:, :, None] * h_items).flatten(1)
    scores = torch.einsum("um,im,umd,imd->ui", alpha_users, alpha_items, h_users, h_items)
    torch.testing.assert_close(scores, e_users @ e_items.T)

    for u, i, j in ((0, 1, 2), (3, 4, 0)):
        ids = [torch.tensor([row], device=device) for row in (u, i, j)]
        tables = [tensor.to(device) for tensor in (h_users, h_items)]
        with forced(any_implementation):
            losses = bpr(*tables, *ids, user_logits=user_logits.to(device), item_logits=item_logits.to(device))
        torch.testing.assert_close(losses[0].cpu(), F.softplus(scores[u, j] - scores[u, i]))


def test_preference_of_two_modalities():
    """alpha_v = sigmoid(z) with z = W_v - W_t, so w_dif = |tanh(z / 2)|."""
    logits = random(50, 2)
    z = logits[:, 0] - logits[:, 1]
    torch.testing.assert_close(logits.softmax(1)[:, 0], z.sigmoid())
    weight = difference_weight(50, preference_logits=logits, free_logits=None, detach=False, like=logits)
    torch.testing.assert_close(weight, (z / 2).tanh().abs())


def test_cosine_of_normalised_rows_is_half_a_squared_distance():
    v, t = random(20, 6), random(20, 6, seed=1)
    distance = F.normalize(v, dim=1) - F.normalize(t, dim=1)
    torch.testing.assert_close(1 - F.cosine_similarity(v, t), distance.square().sum(1) / 2)


@pytest.mark.parametrize("modalities", (2, 3))
@pytest.mark.parametrize("mda, msa", (("row_l2", "none"), ("fro", "none"), ("abs_cos", "none"), ("none", "cosine")))
def test_gradient_from_the_gram_matrix(any_implementation, device, mda, msa, modalities):
    """Each loss and its gradient follow from the inner products of a node's own rows, and dH_p = sum_q c_pq H_q."""
    nodes = 7
    h = random(nodes, modalities, 5, device=device)
    free_logits = random(nodes, seed=1, device=device)

    def one_loss(h):
        return node_losses(h, free_logits=free_logits, mda=mda, msa=msa)[0 if msa == "none" else 1]

    actual = evaluate(any_implementation, one_loss, {"h": h})
    upstream = float(random(seed=1000).bfloat16())

    h, w = h.cpu(), free_logits.cpu().sigmoid()
    gram = h @ h.mT
    coefficients = torch.zeros(nodes, modalities, modalities, dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64)
    for v, t in combinations(range(modalities), 2):
        vv, tt, vt = gram[:, v, v], gram[:, t, t], gram[:, v, t]
        squared = vv + tt - 2 * vt
        cosine = vt / (vv * tt).sqrt()
        if mda in ("row_l2", "fro"):
            frobenius = (w.square() * squared).sum().sqrt()
            loss -= frobenius if mda == "fro" else (w * squared.sqrt()).mean()
            slope = -w.square() / frobenius if mda == "fro" else -w / squared.sqrt() / nodes
            own_v, own_t, cross = slope, slope, -slope
        else:
            loss += (w * cosine.abs()).mean() if mda == "abs_cos" else ((1 - w) * (1 - cosine)).mean()
            slope = (w * cosine.sign() if mda == "abs_cos" else w - 1) / nodes
            own_v, own_t, cross = -slope * cosine / vv, -slope * cosine / tt, slope / (vv * tt).sqrt()
        coefficients[:, v, v] += own_v
        coefficients[:, t, t] += own_t
        coefficients[:, v, t] += cross
        coefficients[:, t, v] += cross
    torch.testing.assert_close(actual["output 0"].cpu(), loss)
    torch.testing.assert_close(actual["gradient of h"].cpu(), upstream * (coefficients @ h))


def test_edge_values_need_no_storage(adjacency):
    """User-item edges are d_r^-1/2 d_c^-1/2; item edges with k neighbours each are 1/k."""
    graph = SYMMETRIC_GRAPHS["small"]()
    rows, columns = graph.rows().long(), graph.columns.long()
    torch.testing.assert_close(graph.normalised_values(torch.float64), adjacency[rows, columns])
    neighbours = F.one_hot(torch.tensor([[0, 2], [1, 3], [2, 1], [3, 0]]), 4).sum(1).double()
    torch.testing.assert_close(neighbours / neighbours.sum(1, keepdim=True), neighbours * 0.5)
