"""LGMRec beside MMRec's own, given our noise and masks where it would draw some: ``make_lgmrec.py --mmrec DIR``."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import torch
from mmrec_side import Case, Comparison, Tensors
from torch import Tensor
from torch.nn import functional as F

from mde_fast.kernels.dropout.reference import mask_reference
from mde_fast.nn.gumbel import gumbel_noise

# Whose weights MMRec draws, and then drops, one after the other: (modality, users).
ORDER = ((0, False), (0, True), (1, False), (1, True))
WIDTH = 16
MATRICES = (("item_image_trs", "v_hyper"), ("item_text_trs", "t_hyper"))
TABLES = "user_embedding.weight", "item_id_embedding.weight"


def _draw_alike(model, case: Case) -> None:
    """The loss has our noise and masks, the scores after it neither; frozen features are as given."""
    for name, matrix in case.dataset().features.items():
        getattr(model, f"{name}_embedding").weight.data.copy_(torch.from_numpy(matrix))
    seed, share, users = case.batch().bits[0], 1 - case.ours["keep_rate"], case.num_users
    shape = users + case.num_items, len(case.modalities), case.ours["hyper_num"]
    noise, mask = gumbel_noise(shape, seed), mask_reference(torch.Size(shape), seed, 0, share, None) / (1 - share)
    drawn, dropped = itertools.count(), itertools.count()

    def part(whole: Tensor, call: int) -> Tensor:
        modality, of_users = ORDER[call]
        return whole[:users, modality] if of_users else whole[users:, modality]

    def gumbel_softmax(logits: Tensor, tau: float, dim: int, hard: bool) -> Tensor:
        call = next(drawn)
        return torch.softmax((logits + (part(noise, call) if call < len(ORDER) else 0)) / tau, dim=dim)

    def drop(x: Tensor) -> Tensor:
        call = next(dropped)
        return x * part(mask, call) if call < len(ORDER) else x

    del model.drop
    model.drop = drop
    functions = SimpleNamespace(gumbel_softmax=gumbel_softmax, normalize=F.normalize, logsigmoid=F.logsigmoid)
    sys.modules[type(model).__module__].F = functions  # type: ignore[attr-defined]


def _ours_from(theirs: Tensors) -> Tensors:
    weights = {
        f"towers.{number}.first.weight": torch.cat([theirs[name] for name in names], dim=1).T.contiguous()
        for number, names in enumerate(MATRICES)
    }
    return {"table": torch.cat([theirs[name] for name in TABLES]), **weights}


def _theirs_from(ours: Tensors) -> Tensors:
    values = dict(zip(TABLES, ours["table"].tensor_split([Case.num_users])))
    for number, names in enumerate(MATRICES):
        values |= dict(zip(names, ours[f"towers.{number}.first.weight"].T.tensor_split([WIDTH], dim=1)))
    return values


def _case(**options) -> Case:
    options = {"embedding_size": WIDTH, "cf_model": "lightgcn", "n_ui_layers": 2, "n_mm_layers": 2, **options}
    return Case(theirs={"feat_embed_dim": WIDTH, **options}, ours=options)


COMPARISON = Comparison(
    theirs="LGMRec",
    ours="lgmrec",
    cases=(
        _case(n_hyper_layer=1, hyper_num=4, keep_rate=0.5, alpha=0.3, cl_weight=1e-4, reg_weight=1e-6),
        _case(n_hyper_layer=2, hyper_num=6, keep_rate=0.2, alpha=0.2, cl_weight=0.01, reg_weight=0.1),
        _case(n_hyper_layer=1, hyper_num=3, keep_rate=1.0, alpha=1.0, cl_weight=0.1, reg_weight=0.0, n_mm_layers=1),
    ),
    ours_from=_ours_from,
    theirs_from=_theirs_from,
    prepare_theirs=_draw_alike,
)

if __name__ == "__main__":
    COMPARISON.main()
