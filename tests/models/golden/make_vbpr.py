"""VBPR beside MMRec's own: ``make_vbpr.py --mmrec DIR``."""

from __future__ import annotations

import torch
from mmrec_side import Case, Comparison, Tensors

WIDTHS = (7, 4)  # of the tiny dataset's image and text features; MMRec puts text first


def _swapped(weight: torch.Tensor, widths: tuple[int, int]) -> torch.Tensor:
    """(D, F_1 + F_2) -> (D, F_2 + F_1)."""
    first, second = weight.split(widths, dim=1)
    return torch.cat([second, first], dim=1)


def _ours(theirs: Tensors) -> Tensors:
    return {
        "user_table": theirs["u_embedding"],
        "item_table": theirs["i_embedding"],
        "content.first.weight": _swapped(theirs["item_linear.weight"], WIDTHS[::-1]),
        "content.first.bias": theirs["item_linear.bias"],
    }


def _theirs(ours: Tensors) -> Tensors:
    return {
        "u_embedding": ours["user_table"],
        "i_embedding": ours["item_table"],
        "item_linear.weight": _swapped(ours["content.first.weight"], WIDTHS),
        "item_linear.bias": ours["content.first.bias"],
    }


def _case(reg_weight: float, **inputs) -> Case:
    setting = {"embedding_size": 8, "reg_weight": reg_weight}
    return Case(theirs=setting, ours=setting, **inputs)


COMPARISON = Comparison(
    theirs="VBPR",
    ours="vbpr",
    cases=(_case(2.0), _case(0.01, batch_size=7, batch_seed=3, parameter_seed=2, parameter_scale=0.7)),
    ours_from=_ours,
    theirs_from=_theirs,
)

if __name__ == "__main__":
    COMPARISON.main()
