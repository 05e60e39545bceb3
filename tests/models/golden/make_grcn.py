"""GRCN beside MMRec's: ``python tests/models/golden/make_grcn.py --mmrec DIR`` writes ``grcn.json``.

MMRec runs three rounds of routing, ours none: that they change nothing is a part of the comparison.
"""

from __future__ import annotations

from mmrec_side import Case, Comparison, renamed

NAMES = {"ids": "id_gcn.id_embedding", "confidence": "model_specific_conf"}  # ours -> MMRec's
for _number, _network in enumerate(("v_gcn", "t_gcn")):
    NAMES[f"preferences.{_number}"] = f"{_network}.preference"
    for _kind in ("weight", "bias"):
        NAMES[f"towers.{_number}.first.{_kind}"] = f"{_network}.MLP.{_kind}"


def _case(reg_weight: float, **others) -> Case:
    return Case(
        theirs={"embedding_size": 8, "latent_embedding": 6, "n_layers": 3, "reg_weight": reg_weight},
        ours={"embedding_size": 8, "content_size": 6, "reg_weight": reg_weight},
        **others,
    )


COMPARISON = Comparison(
    theirs="GRCN",
    ours="grcn",
    cases=(_case(0.1), _case(0.00001, num_users=15, num_items=25, data_seed=1, batch_seed=1)),
    **renamed(NAMES),
)

if __name__ == "__main__":
    COMPARISON.main()
