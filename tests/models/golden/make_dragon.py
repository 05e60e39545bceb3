"""DRAGON beside MMRec's own: ``make_dragon.py --mmrec DIR``. Names and user graphs are those of DualGNN."""

from __future__ import annotations

from make_dualgnn import ours, prepare_ours, prepare_theirs, theirs
from mmrec_side import Case, Comparison


def _case(filled: bool, reg_weight: float, image: float = 0.1, n_mm_layers: int = 1) -> Case:
    options = {"embedding_size": 64, "knn_k": 5, "n_mm_layers": n_mm_layers, "reg_weight": reg_weight}
    return Case(
        theirs={"feat_embed_dim": 64, "n_layers": 2, "aggr_mode": "add", "mm_image_weight": image, **options},
        ours={"n_layers": 2, "blend_weights": (image, 1 - image), "user_graph_filled": filled, **options},
        num_users=60,
        density=0.3 if filled else 0.8,
        parameter_scale=0.1,
        scores=not filled,  # MMRec ranks with the filled graph
    )


COMPARISON = Comparison(
    theirs="DRAGON",
    ours="dragon",
    cases=(_case(False, 0.1), _case(False, 0.001, image=0.4, n_mm_layers=2), _case(True, 0.01)),
    ours_from=ours,
    theirs_from=theirs,
    prepare_theirs=prepare_theirs,
    prepare_ours=prepare_ours,
    as_on_gpu=("result_embed",),
)

if __name__ == "__main__":
    COMPARISON.main()
