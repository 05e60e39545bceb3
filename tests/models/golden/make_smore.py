"""SMORE beside MMRec's own, which is given our masks where it would draw some: ``make_smore.py --mmrec DIR``."""

from __future__ import annotations

import itertools

from make_bm3 import TABLE_AND_TOWERS
from mmrec_side import Case, Comparison, renamed
from torch import Tensor

from mde_fast.kernels.dropout.reference import dropout_reference

VIEWS = ("image", "text", "fusion")
NAMES = {
    **TABLE_AND_TOWERS,
    **{f"filters.{number}": f"{view}_complex_weight" for number, view in enumerate(VIEWS)},
    **{f"attention.{number}.weight": f"query_{letter}.2.weight" for number, letter in enumerate("vt")},
}
for _kind in ("weight", "bias"):
    for _number, (_view, _letter) in enumerate(zip(VIEWS, "vtf")):
        NAMES[f"purifiers.{_number}.{_kind}"] = f"gate_{_letter}.0.{_kind}"
        NAMES[f"preferences.{_number}.{_kind}"] = f"gate_{_view}_prefer.0.{_kind}"
        if _view != "fusion":
            NAMES[f"queries.{_number}.{_kind}"] = f"query_{_letter}.0.{_kind}"


def _drop_alike(model, case: Case) -> None:
    """The loss drops what ours drops of whole tables, and the scores after it nothing, as MMRec's have it."""
    seed, streams, share = case.batch().bits[0], itertools.count(), case.ours["dropout_rate"]

    def dropout(x: Tensor) -> Tensor:
        stream = next(streams)
        return dropout_reference(x, share, seed, stream, None) if stream < len(VIEWS) else x

    del model.dropout
    model.dropout = dropout


def _case(**options) -> Case:
    options = {"embedding_size": 16, "n_layers": 1, "cl_loss": 0.01, "image_knn_k": 3, "text_knn_k": 5, **options}
    return Case(theirs=options, ours=options)


COMPARISON = Comparison(
    theirs="SMORE",
    ours="smore",
    cases=(
        _case(n_ui_layers=3, dropout_rate=0.0, reg_weight=1e-4),
        _case(n_ui_layers=4, dropout_rate=0.1, reg_weight=1e-5),
        _case(n_ui_layers=1, dropout_rate=0.5, reg_weight=0.1, embedding_size=15, n_layers=2),
    ),
    **renamed(NAMES),
    prepare_theirs=_drop_alike,
)

if __name__ == "__main__":
    COMPARISON.main()
