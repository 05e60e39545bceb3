"""Ground truth of objective: the losses' own references and eq. 11's regulariser, added up as they are written."""

import torch
from torch import Tensor

from ..bpr.reference import bpr_reference
from ..node_losses.reference import node_losses_reference
from .operands import Operands


def objective_reference(*operands) -> Tensor:
    given = Operands(*operands)
    ranking = bpr_reference(*given.of_bpr())
    (user_mda, user_msa), (item_mda, item_msa) = (
        node_losses_reference(*side, False, given.mda, given.msa) for side in given.sides()
    )
    embeddings, preferences = given.counts()
    regulariser = given.norms[given.users].square().sum() / embeddings
    if given.shrink:
        regulariser = regulariser + (given.user_logits.square().sum() + given.item_logits.square().sum()) / preferences
    losses = *ranking, user_mda + item_mda, user_msa + item_msa, regulariser
    return given.weights * torch.stack([loss.to(given.weights.dtype) for loss in losses])
