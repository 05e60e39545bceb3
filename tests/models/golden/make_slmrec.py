"""SLMRec, task FAC, beside MMRec's own: ``make_slmrec.py --mmrec DIR``."""

from __future__ import annotations

from mmrec_side import Case, Comparison, renamed
from torch import Tensor

# Our name of each parameter -> MMRec's. Its g_a_iva is of the third modality, which it leaves out, and never used.
NAMES = {
    "user_table": "embedding_user.weight",
    "item_table": "embedding_item.weight",
    **{
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for theirs, ours in (
            ("v_dense", "towers.0.first"),
            ("t_dense", "towers.1.first"),
            ("embedding_item_after_GCN", "item_fusion"),
            ("embedding_user_after_GCN", "user_fusion"),
            ("g_i_iv", "id_layers.0"),
            ("g_v_iv", "modality_layers.0"),
            ("g_iv_iva", "unused_layer"),
            ("g_iva_ivat", "id_layers.1"),
            ("g_t_ivat", "modality_layers.1"),
        )
        for kind in ("weight", "bias")
    },
}


def _scores(model, case: Case) -> Tensor:
    """MMRec's scores before its sigmoid, which leaves their order, of the parameters as they are."""
    users, items = model.compute()
    return users @ items.T


def _case(ssl_temp: float, ssl_alpha: float, layers: int = 3, graph: str = "pre") -> Case:
    theirs = {
        "recdim": 16,
        "layer_num": layers,
        "ssl_task": "FAC",
        "ssl_temp": ssl_temp,
        "ssl_alpha": ssl_alpha,
        "mm_fusion_mode": "concat",
        "temp": 0.2,
        "init": "xavier",
        "adj_type": graph,
    }
    ours = {
        "embedding_size": 16,
        "n_layers": layers,
        "ssl_temp": ssl_temp,
        "ssl_alpha": ssl_alpha,
        "adj_type": graph,
        "weight_decay": 0.0,  # MMRec's is in its optimiser, not in the loss
    }
    return Case(theirs=theirs, ours=ours)


COMPARISON = Comparison(
    theirs="SLMRec",
    ours="slmrec",
    cases=(_case(0.2, 0.1), _case(1.0, 0.5), _case(0.5, 1.0, layers=2), _case(0.2, 0.1, graph="gcmc")),
    **renamed(NAMES),
    score_theirs=_scores,
)

if __name__ == "__main__":
    COMPARISON.main()
