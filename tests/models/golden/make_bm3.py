"""BM3 beside MMRec's own, which is given our masks where it would draw some: ``make_bm3.py --mmrec DIR``."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import torch
from mmrec_side import Case, Comparison, Tensors
from torch import Tensor

from mde_fast.kernels.dropout.reference import dropout_reference

STREAMS = (0, 1, 3, 2)  # users, items, text and image, in the order in which MMRec drops numbers of them


def _drop_alike(model, case: Case) -> None:
    """MMRec's next dropouts, of whole tables, take the masks that ours take for the batch."""
    seed, streams = case.batch().bits[0], iter(STREAMS)

    def dropout(x: Tensor, share: float) -> Tensor:
        return dropout_reference(x, share, seed, next(streams), None)

    sys.modules[type(model).__module__].F = SimpleNamespace(dropout=dropout)  # type: ignore[attr-defined]


def _ours(theirs: Tensors) -> Tensors:
    values = {
        "table": torch.cat([theirs["user_embedding.weight"], theirs["item_id_embedding.weight"]]),
        "predictor.weight": theirs["predictor.weight"],
        "predictor.bias": theirs["predictor.bias"],
    }
    for number, modality in enumerate(("image", "text")):
        values[f"towers.{number}.features"] = theirs[f"{modality}_embedding.weight"]
        values[f"towers.{number}.first.weight"] = theirs[f"{modality}_trs.weight"]
        values[f"towers.{number}.first.bias"] = theirs[f"{modality}_trs.bias"]
    return values


def _theirs(ours: Tensors) -> Tensors:
    users, items = ours["table"].split([CASES[0].num_users, CASES[0].num_items])
    values = {
        "user_embedding.weight": users,
        "item_id_embedding.weight": items,
        "predictor.weight": ours["predictor.weight"],
        "predictor.bias": ours["predictor.bias"],
    }
    for number, modality in enumerate(("image", "text")):
        values[f"{modality}_embedding.weight"] = ours[f"towers.{number}.features"]
        values[f"{modality}_trs.weight"] = ours[f"towers.{number}.first.weight"]
        values[f"{modality}_trs.bias"] = ours[f"towers.{number}.first.bias"]
    return values


def _case(**options) -> Case:
    options = {"embedding_size": 16, "cl_weight": 2.0, **options}
    return Case(theirs={"feat_embed_dim": 16, **options}, ours=options)


CASES = (
    _case(n_layers=1, dropout=0.5, reg_weight=0.1),
    _case(n_layers=2, dropout=0.3, reg_weight=0.01),
    _case(n_layers=2, dropout=0.0, reg_weight=0.1),
)
COMPARISON = Comparison(
    theirs="BM3", ours="bm3", cases=CASES, ours_from=_ours, theirs_from=_theirs, prepare_theirs=_drop_alike
)

if __name__ == "__main__":
    COMPARISON.main()
