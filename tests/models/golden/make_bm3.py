"""BM3 beside MMRec's own, which is given our masks where it would draw some: ``make_bm3.py --mmrec DIR``."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from mmrec_side import Case, Comparison, renamed
from torch import Tensor

from mde_fast.kernels.dropout.reference import dropout_reference

STREAMS = (0, 1, 3, 2)  # users, items, text and image, in the order in which MMRec drops numbers of them


def _drop_alike(model, case: Case) -> None:
    """MMRec's next dropouts, of whole tables, take the masks that ours take for the batch."""
    seed, streams = case.batch().bits[0], iter(STREAMS)

    def dropout(x: Tensor, share: float) -> Tensor:
        return dropout_reference(x, share, seed, next(streams), None)

    sys.modules[type(model).__module__].F = SimpleNamespace(dropout=dropout)  # type: ignore[attr-defined]


TABLE_AND_TOWERS: dict = {"table": ("user_embedding.weight", "item_id_embedding.weight")}  # ours -> MMRec's
for _number, _modality in enumerate(("image", "text")):
    TABLE_AND_TOWERS[f"towers.{_number}.features"] = f"{_modality}_embedding.weight"
    for _kind in ("weight", "bias"):
        TABLE_AND_TOWERS[f"towers.{_number}.first.{_kind}"] = f"{_modality}_trs.{_kind}"
NAMES = {**TABLE_AND_TOWERS, "predictor.weight": "predictor.weight", "predictor.bias": "predictor.bias"}


def _case(**options) -> Case:
    options = {"embedding_size": 16, "cl_weight": 2.0, **options}
    return Case(theirs={"feat_embed_dim": 16, **options}, ours=options)


CASES = (
    _case(n_layers=1, dropout=0.5, reg_weight=0.1),
    _case(n_layers=2, dropout=0.3, reg_weight=0.01),
    _case(n_layers=2, dropout=0.0, reg_weight=0.1),
)
COMPARISON = Comparison(theirs="BM3", ours="bm3", cases=CASES, **renamed(NAMES), prepare_theirs=_drop_alike)

if __name__ == "__main__":
    COMPARISON.main()
