"""MDE written straight from its equations: the ground truth that the fast model is held against.

Nothing here uses an operator of this project. Every matrix is spelled out, every modality has its own loop turn, and
speed does not matter. It takes an :class:`mde_fast.models.mde.MDE`'s parameters, whose names it shares.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from mde_fast.models.mde import MDEOptions


def reference_parts(
    options: MDEOptions,
    parameters: dict[str, Tensor],
    features: dict[str, Tensor],
    train: np.ndarray,
    user_user: Tensor,
    item_item: list[Tensor],
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
) -> dict[str, Tensor]:
    """The addends of eq. 11 for a batch of triples.

    Args:
        options: the model's options.
        parameters: name -> tensor; sets the working precision.
        features: modality -> (I, F_m), in the parameters' dtype.
        train: R, dense (U, I).
        user_user: A_uu, dense (U, U). item_item: A_ii,m for each modality, dense (I, I).
        users, positives, negatives: (B,) triples.

    Returns:
        part name -> scalar, coefficients included; the loss is their sum.
    """
    h_users, h_items = reference_encode(options, parameters, features, train, user_user, item_item)
    dtype = parameters["user_table"].dtype
    num_modalities = len(features)
    alpha_users, alpha_items = _preferences(options, parameters, list(features), train.shape, dtype)

    # Eq. 5 and 9.
    fused_users = [alpha_users[:, m, None] * h_users[m] for m in range(num_modalities)]
    fused_items = [
        alpha_items[:, m, None] * h_items[m] if options.fusion_nodes == "all" else h_items[m]
        for m in range(num_modalities)
    ]
    if options.fusion == "concat":
        e_users, e_items = torch.cat(fused_users, dim=1), torch.cat(fused_items, dim=1)
    else:
        e_users, e_items = sum(fused_users), sum(fused_items)
    parts = {"bpr": _bpr(e_users, e_items, users, positives, negatives)}

    # Eq. 10.
    for m, name in enumerate(features):
        modality_loss = _bpr(h_users[m], h_items[m], users, positives, negatives)
        parts[f"bpr_{name}"] = modality_loss if options.modality_losses else torch.zeros_like(modality_loss)

    # Eq. 6, 7 and 8, one side after the other.
    parts["mda"] = torch.zeros((), dtype=dtype)
    parts["msa"] = torch.zeros((), dtype=dtype)
    sides = (
        (h_users, alpha_users, parameters.get("preferences.free_users"), users),
        (h_items, alpha_items, parameters.get("preferences.free_items"), positives),
    )
    for h, alpha, free, batch in sides:
        w_dif = _difference_weight(options, alpha, free)
        w_sim = 1 - w_dif
        for v, t in combinations(range(num_modalities), 2):
            parts["mda"] = parts["mda"] + options.mda_weight * _mda(options.mda, h[v], h[t], w_dif)
            if options.msa == "cosine":
                alignment = (w_sim * (1 - _cosine(h[v], h[t]))).mean()
            else:
                alignment = _infonce(h[v][batch], h[t][batch], w_sim[batch], batch, options.temperature)
            parts["msa"] = parts["msa"] + options.msa_weight * alignment

    # The regulariser of eq. 11.
    regulariser = sum((parameters["user_table"][users, m] ** 2).mean() for m in range(num_modalities))
    if not options.nlt.startswith("fixed"):
        w = torch.cat([parameters["preferences.users"], parameters["preferences.items"]])
        regulariser = regulariser + (w**2).mean()
    parts["regulariser"] = options.reg_weight * regulariser
    return parts


def reference_encode(
    options: MDEOptions,
    parameters: dict[str, Tensor],
    features: dict[str, Tensor],
    train: np.ndarray,
    user_user: Tensor,
    item_item: list[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """H of eq. 4: for each modality (U, D), and for each modality (I, D)."""
    dtype = parameters["user_table"].dtype
    num_users, num_items = train.shape
    adjacency = torch.zeros(num_users + num_items, num_users + num_items, dtype=dtype)
    adjacency[:num_users, num_users:] = torch.from_numpy(train).to(dtype)
    adjacency[num_users:, :num_users] = torch.from_numpy(train).to(dtype).T
    degrees = adjacency.sum(dim=1)
    inverse_root = torch.where(degrees > 0, degrees**-0.5, torch.zeros_like(degrees))
    normalised = torch.diag(inverse_root) @ adjacency @ torch.diag(inverse_root)

    h_users, h_items = [], []
    for m, matrix in enumerate(features.values()):
        hidden = matrix @ parameters[f"towers.{m}.first.weight"].T + parameters[f"towers.{m}.first.bias"]
        if options.projection == "mlp":
            hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
            hidden = hidden @ parameters[f"towers.{m}.second.weight"].T + parameters[f"towers.{m}.second.bias"]
        e = torch.cat([parameters["user_table"][:, m], hidden])
        if options.row_normalize:
            e = e / e.norm(dim=1, keepdim=True)
        e = e * options.input_scale
        layers = [e]
        for _ in range(options.n_layers):
            layers.append(normalised @ layers[-1])  # eq. 2
        combined = sum(layers)  # eq. 3
        if options.layer_combine == "mean":
            combined = combined / len(layers)
        e_users, e_items = combined[:num_users], combined[num_users:]
        h_users.append(e_users + user_user @ e_users)  # eq. 4
        h_items.append(e_items + item_item[m] @ e_items)
    return h_users, h_items


def _preferences(
    options: MDEOptions,
    parameters: dict[str, Tensor],
    modalities: list[str],
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    if options.nlt.startswith("fixed"):
        share = float(options.nlt.split(":")[1])
        text = modalities.index("text") if "text" in modalities else len(modalities) - 1
        alpha = torch.full((len(modalities),), (1 - share) / (len(modalities) - 1), dtype=dtype)
        alpha[text] = share
        return alpha.expand(shape[0], -1), alpha.expand(shape[1], -1)
    return (
        torch.softmax(parameters["preferences.users"], dim=1),
        torch.softmax(parameters["preferences.items"], dim=1),
    )


def _difference_weight(options: MDEOptions, alpha: Tensor, free: Tensor | None) -> Tensor:
    """w_dif of eq. 8."""
    if options.nlt == "none":
        return torch.full(alpha.shape[:1], 0.5, dtype=alpha.dtype)
    if options.nlt == "free":
        return torch.sigmoid(free)
    weight = alpha.max(dim=1).values - alpha.min(dim=1).values
    return weight.detach() if options.nlt_detach else weight


def _bpr(users_matrix: Tensor, items_matrix: Tensor, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    y_ui = (users_matrix[users] * items_matrix[positives]).sum(dim=1)
    y_uj = (users_matrix[users] * items_matrix[negatives]).sum(dim=1)
    return -torch.nn.functional.logsigmoid(y_ui - y_uj).mean()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))


def _mda(form: str, v: Tensor, t: Tensor, w_dif: Tensor) -> Tensor:
    if form == "row_l2":
        return -(w_dif * (v - t).norm(dim=1)).mean()
    if form == "fro":
        return -(w_dif[:, None] * (v - t)).norm()
    return (w_dif * _cosine(v, t).abs()).mean()


def _infonce(v: Tensor, t: Tensor, w_sim: Tensor, nodes: Tensor, temperature: float) -> Tensor:
    unit_v, unit_t = v / v.norm(dim=1, keepdim=True), t / t.norm(dim=1, keepdim=True)
    similarity = unit_v @ unit_t.T / temperature
    repeated = (nodes[:, None] == nodes[None, :]) & ~torch.eye(len(nodes), dtype=torch.bool)
    similarity = similarity.masked_fill(repeated, -torch.inf)
    v_to_t = similarity.logsumexp(dim=1) - similarity.diagonal()
    t_to_v = similarity.logsumexp(dim=0) - similarity.diagonal()
    return (w_sim * (v_to_t + t_to_v) / 2).mean()
