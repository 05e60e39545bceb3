"""DualGNN beside MMRec's own: ``make_dualgnn.py --mmrec DIR``. What DRAGON's code shares with it is here too."""

from __future__ import annotations

import numpy as np
import torch
from mmrec_side import Case, Comparison, Tensors

K = 40  # in MMRec's code
FILL_SEED = 3


def ours(theirs: Tensors) -> Tensors:
    """MMRec calls the towers MLP and MLP_1, in a GCN for each modality; MLP_v, MLP_t, MLP_user are never used there."""
    values = {
        "content.preferences": torch.stack([theirs["v_gcn.preference"], theirs["t_gcn.preference"]], dim=1),
        "user_weights": theirs["weight_u"][:, :, 0],
    }
    for number, gcn in enumerate(("v_gcn", "t_gcn")):
        for own, name in (("first", "MLP"), ("second", "MLP_1")):
            for kind in ("weight", "bias"):
                values[f"content.towers.{number}.{own}.{kind}"] = theirs[f"{gcn}.{name}.{kind}"]
    return values


def theirs(ours: Tensors) -> Tensors:
    values = {"weight_u": ours["user_weights"][:, :, None]}
    for number, gcn in enumerate(("v_gcn", "t_gcn")):
        values[f"{gcn}.preference"] = ours["content.preferences"][:, number]
        for own, name in (("first", "MLP"), ("second", "MLP_1")):
            for kind in ("weight", "bias"):
                values[f"{gcn}.{name}.{kind}"] = ours[f"content.towers.{number}.{own}.{kind}"]
    return values


def prepare_theirs(model, case: Case) -> None:
    """The features as they were, which DRAGON's code shares with a table that is never used; an epoch's user graph.

    weight_i is out of the loss: it is in the regulariser of DualGNN and in nothing else.
    """
    for modality, features in zip(("image", "text"), (model.v_feat, model.t_feat)):
        with torch.no_grad():
            features.copy_(torch.from_numpy(case.dataset().features[modality]))
    model.weight_i.requires_grad_(False).zero_()
    short = [user for user, (neighbours, _) in model.user_graph_dict.items() if 0 < len(neighbours) < K]
    assert bool(short) == case.ours["user_graph_filled"], f"{len(short)} users have fewer than {K} neighbours"
    np.random.seed(FILL_SEED)
    model.pre_epoch_processing()


def prepare_ours(model, case: Case) -> None:
    """The same draws for users with too few neighbours."""
    if not case.ours["user_graph_filled"]:
        return
    train, random = case.dataset().train_matrix.toarray(), np.random.RandomState(FILL_SEED)
    common = train @ train.T
    np.fill_diagonal(common, 0)
    graph = model.user_graph
    for user, counts in enumerate(common):
        places = [int(other) for other in np.argsort(-counts, kind="stable") if counts[other] > 0][:K]
        while 0 < len(places) < K:
            places.append(places[random.randint(0, len(places))])
        if places:
            graph.epoch_neighbours[user] = torch.tensor(places)
            graph.epoch_weights[user] = torch.softmax(torch.from_numpy(counts[places]).float(), dim=0)


def comparison(name: str, *cases: Case) -> Comparison:
    """Of a class of MMRec's."""
    return Comparison(
        theirs=name,
        ours=name.lower(),
        cases=cases,
        ours_from=ours,
        theirs_from=theirs,
        prepare_theirs=prepare_theirs,
        prepare_ours=prepare_ours,
    )


def case(filled: bool, options: dict, *, theirs: dict | None = None, ours: dict | None = None) -> Case:
    """``options`` are of both sides."""
    options = {"embedding_size": 64, "n_layers": 2, **options}
    return Case(
        theirs={"aggr_mode": "add", **options, **(theirs or {})},
        ours={"user_graph_filled": filled, **options, **(ours or {})},
        num_users=60,
        density=0.3 if filled else 0.8,
        parameter_scale=0.1,
        scores=not filled,  # MMRec ranks with the filled graph
    )


COMPARISON = comparison(
    "DualGNN",
    case(False, {"reg_weight": 0.1}),
    case(False, {"reg_weight": 0.001}),
    case(True, {"reg_weight": 0.01}),
)

if __name__ == "__main__":
    COMPARISON.main()
