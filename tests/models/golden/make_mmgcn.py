"""MMGCN beside MMRec's: ``python tests/models/golden/make_mmgcn.py --mmrec DIR`` writes ``mmgcn.json``.

MMRec never trains ``id_embedding`` and ``preference``, which are plain tensors there, but its loss has a gradient to
them; so they are learned on our side, and all gradients compared.
"""

from __future__ import annotations

from mmrec_side import Case, Comparison, renamed

SMALL = {"embedding_size": 8, "n_layers": 2}
NAMES = {"ids": "id_embedding"}  # ours -> MMRec's
for _number, _network in enumerate(("v_gcn", "t_gcn")):
    NAMES[f"networks.{_number}.preference"] = f"{_network}.preference"
    for _layer, _place in enumerate(("first", "second", "third")):
        _own = f"networks.{_number}.{_place}"
        NAMES[f"{_own}.weight"] = f"{_network}.conv_embed_{_layer + 1}.weight"
        for _kind in ("weight", "bias"):
            NAMES[f"{_own}.own.{_kind}"] = f"{_network}.linear_layer{_layer + 1}.{_kind}"
            NAMES[f"{_own}.join.{_kind}"] = f"{_network}.g_layer{_layer + 1}.{_kind}"
for _kind in ("weight", "bias"):
    NAMES[f"networks.0.tower.first.{_kind}"] = f"v_gcn.MLP.{_kind}"


def _case(reg_weight: float, **others) -> Case:
    options = {"embedding_size": 8, "reg_weight": reg_weight, "learned_ids": True}
    return Case(theirs={**SMALL, "reg_weight": reg_weight}, ours=options, **others)


COMPARISON = Comparison(
    theirs="MMGCN",
    ours="mmgcn",
    cases=(_case(0.1), _case(0.00001, num_users=15, num_items=25, data_seed=1, batch_seed=1)),
    **renamed(NAMES),
    extra=("id_embedding", "v_gcn.preference", "t_gcn.preference"),
)

if __name__ == "__main__":
    COMPARISON.main()
