"""FREEDOM beside MMRec's own, on a graph pruned alike: ``make_freedom.py --mmrec DIR``."""

from __future__ import annotations

import torch
from make_bm3 import TABLE_AND_TOWERS
from mmrec_side import Case, Comparison, renamed

from mde_fast.graphs.prune import prune_by_degree
from mde_fast.graphs.user_item import user_item_graph
from mde_fast.models.freedom import FREEDOM


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def _prune_ours(model: FREEDOM, case: Case) -> None:
    model.begin_epoch(_generator())


def _prune_theirs(model, case: Case) -> None:
    """MMRec's graph of the epoch is what its own code makes of the edges that ours keeps."""
    whole = user_item_graph(case.dataset().train_matrix)
    kept = prune_by_degree(whole, case.num_users, case.ours["dropout"], _generator())
    of_users = kept.rows() < case.num_users
    users, items = kept.rows()[of_users].long(), kept.columns[of_users].long()
    values = model._normalize_adj_m(torch.stack([users, items - case.num_users]), (case.num_users, case.num_items))
    both = torch.cat([torch.stack([users, items]), torch.stack([items, users])], dim=1)
    model.masked_adj = torch.sparse_coo_tensor(both, torch.cat([values, values]), model.norm_adj.shape)


def _case(**options) -> Case:
    return Case(
        theirs={"embedding_size": 16, "feat_embed_dim": 16, "n_mm_layers": 1, "n_ui_layers": 2, "knn_k": 3}
        | {"mm_image_weight": 0.1, "lambda_coeff": 0.9, **options},
        ours={"embedding_size": 16, "knn_k": 3, **options},
    )


CASES = (_case(dropout=0.8, reg_weight=0.001), _case(dropout=0.5, reg_weight=0.1), _case(dropout=0.0, reg_weight=0.0))
COMPARISON = Comparison(
    theirs="FREEDOM",
    ours="freedom",
    cases=CASES,
    **renamed(TABLE_AND_TOWERS),
    prepare_theirs=_prune_theirs,
    prepare_ours=_prune_ours,
)

if __name__ == "__main__":
    COMPARISON.main()
