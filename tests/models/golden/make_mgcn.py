"""MGCN beside MMRec's own: ``make_mgcn.py --mmrec DIR``."""

from __future__ import annotations

from make_bm3 import TABLE_AND_TOWERS
from mmrec_side import Case, Comparison, renamed

NAMES = {
    **TABLE_AND_TOWERS,
    **{f"query.{kind}": f"query_common.0.{kind}" for kind in ("weight", "bias")},
    "attention.weight": "query_common.2.weight",
    **{
        f"{ours}.{number}.{kind}": f"{theirs}.0.{kind}"
        for kind in ("weight", "bias")
        for ours, names in (
            ("purifiers", ("gate_v", "gate_t")),
            ("preferences", ("gate_image_prefer", "gate_text_prefer")),
        )
        for number, theirs in enumerate(names)
    },
}


def _case(**options) -> Case:
    options = {"embedding_size": 16, "n_ui_layers": 2, "n_layers": 1, "knn_k": 4, **options}
    return Case(theirs=options, ours=options)


COMPARISON = Comparison(
    theirs="MGCN",
    ours="mgcn",
    cases=(
        _case(cl_loss=0.001, reg_weight=0.0001),
        _case(cl_loss=0.1, reg_weight=0.0001),
        _case(cl_loss=0.01, reg_weight=0.1, n_ui_layers=3, n_layers=2),
    ),
    **renamed(NAMES),
)

if __name__ == "__main__":
    COMPARISON.main()
