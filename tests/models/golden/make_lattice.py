"""LATTICE beside MMRec's own in an epoch's first step, where its graph learns: ``make_lattice.py --mmrec DIR``."""

from __future__ import annotations

import torch
from make_bm3 import TABLE_AND_TOWERS
from mmrec_side import Case, Comparison, renamed

from mde_fast.models.lattice import LATTICE


def _find_neighbours(model: LATTICE, case: Case) -> None:
    """By the parameters of the comparison, as MMRec's first step does."""
    model.begin_epoch(torch.Generator())


def _case(widths: tuple[int, ...], **options) -> Case:
    shared = {"embedding_size": 16, "feat_embed_dim": 12, "n_layers": 1, "lambda_coeff": 0.9, **options}
    return Case(
        theirs={**shared, "knn_k": 4, "cf_model": "lightgcn", "weight_size": list(widths)},
        ours={**shared, "knn_k": 4, "n_ui_layers": len(widths)},
    )


COMPARISON = Comparison(
    theirs="LATTICE",
    ours="lattice",
    cases=(
        _case((16, 16), reg_weight=0.0),
        _case((16, 16), reg_weight=0.001),
        _case((16,), reg_weight=0.1, lambda_coeff=0.5, n_layers=2),
    ),
    **renamed({**TABLE_AND_TOWERS, "modal_weight": "modal_weight"}),
    prepare_ours=_find_neighbours,
)

if __name__ == "__main__":
    COMPARISON.main()
