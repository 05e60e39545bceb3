"""DRAGON beside MMRec's own: ``make_dragon.py --mmrec DIR``. Names and user graphs are those of DualGNN."""

from __future__ import annotations

from make_dualgnn import case, comparison
from mmrec_side import Case


def _case(filled: bool, reg_weight: float, image: float = 0.1, n_mm_layers: int = 1) -> Case:
    return case(
        filled,
        {"knn_k": 5, "n_mm_layers": n_mm_layers, "reg_weight": reg_weight},
        theirs={"feat_embed_dim": 64, "mm_image_weight": image},
        ours={"blend_weights": (image, 1 - image)},
    )


COMPARISON = comparison("DRAGON", _case(False, 0.1), _case(False, 0.001, image=0.4, n_mm_layers=2), _case(True, 0.01))

if __name__ == "__main__":
    COMPARISON.main()
