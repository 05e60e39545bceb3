"""VBPR (He and McAuley, AAAI 2016): matrix factorisation beside a linear projection of item content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..nn.by_columns import vector_norm
from ..nn.factors import side_by_side
from ..nn.towers import FeatureTower
from ..options import Options, at_least, option
from ..world import Part
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class VBPROptions(Options):
    """As in MMRec, whose grid is reg_weight 2, 1 and 1e-1 to 1e-5."""

    owner: ClassVar[str] = "vbpr"

    embedding_size: int = option(64, "d, dimensions of gamma and of theta; a user has both", check=at_least(1))
    reg_weight: float = option(
        0.01, "lambda, of the regulariser", check=at_least(0), search=(2.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
    )
    regulariser: str = option(
        "norms",
        "norms: Frobenius norms of the triples' rows, content included, over the batch size (published code); "
        "squares: half the squares of the triples' gamma and theta, mean over the batch (paper)",
        choices=("norms", "squares"),
    )
    biases: bool = option(False, "the paper's item bias and bias by content, which the published code lacks")


class VBPR(Model[VBPROptions]):
    """A user's rows gamma_u, theta_u; an item's row gamma_i and its content f_i (I, F), all modalities side by side.

    Eq. 4 of the paper, where an item's score for a user is ``beta_i + gamma_u . gamma_i + theta_u . (E f_i) + beta' .
    f_i``; the terms without u or i cannot change a ranking. The projection has a bias, as in the published code.
    """

    title = "VBPR (2016): factors beside projected content"
    Options = VBPROptions
    node_tables = ("user_table", "item_table")
    min_modalities = 1
    by_columns = True
    part_names = ("bpr", "regulariser")

    def __init__(self, options: VBPROptions, inputs: Inputs):
        super().__init__()
        self.options, self.world = options, inputs.world
        width, generator = options.embedding_size, inputs.generator
        if options.biases and self.world.size > 1:
            raise InputError(
                "biases: are one column more, which cannot be dealt out to several processes; leave them out"
            )
        self.width = self.world.columns(width)  # d, or this process's part of it
        users, items = torch.empty(inputs.num_users, 2 * width), torch.empty(inputs.num_items, width)
        for table in (users, items):
            nn.init.xavier_uniform_(table, generator=generator)
        self.user_table = self.world.parameter(users, Part(1, groups=2))  # [gamma_u | theta_u]
        self.item_table = self.world.parameter(items, Part(1))  # gamma_i
        self.content = FeatureTower(  # E, and beta' as one more row of it
            side_by_side(list(inputs.frozen_features().values())),
            width + int(options.biases),
            precision=inputs.precision,
            generator=generator,
            world=self.world,
        )
        nn.init.zeros_(self.content.first.bias)
        self.item_bias = nn.Parameter(torch.zeros(inputs.num_items, 1)) if options.biases else None  # beta_i

    @classmethod
    def build(cls, options: VBPROptions, inputs: Inputs) -> VBPR:
        return cls(options, inputs)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR of the batch's triples, for which only the content of the batch's items is projected, and lambda reg."""
        users = self._user_rows(F.embedding(batch.users, self.user_table))
        ids = torch.cat([batch.positives, batch.negatives])
        bias = None if self.item_bias is None else F.embedding(ids, self.item_bias)
        items = self._item_rows(F.embedding(ids, self.item_table), self.content(ids), bias)
        positives, negatives = items.tensor_split(2)
        # -ln sigma(x_ui - x_uj), eq. 7; the 1e-10 that the published code adds to sigma is lost in its rounding.
        ranking = -F.logsigmoid(self.world.total((users * (positives - negatives)).sum(1))).mean()
        regulariser = self._regulariser(users, positives, negatives)
        return torch.stack([ranking, self.options.reg_weight * regulariser])

    def _regulariser(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Of the rows of triples, (B, 2 d) each but for biases, which are left free."""
        width, batch = self.width, users.shape[0]
        if self.options.regulariser == "norms":
            rows = torch.stack([users, positives, negatives])[:, :, : 2 * width]
            return vector_norm(self.world, rows, dim=(1, 2)).sum() / batch
        learned = torch.cat([users[:, : 2 * width], positives[:, :width], negatives[:, :width]], dim=1)
        return self.world.total(learned.square().sum()) / (2 * batch)

    def _user_rows(self, factors: Tensor) -> Tensor:
        """(n, 2 d), with a 1 behind it for an item's bias to be multiplied by."""
        return factors if self.item_bias is None else F.pad(factors, (0, 1), value=1.0)

    def _item_rows(self, factors: Tensor, content: Tensor, bias: Tensor | None) -> Tensor:
        """[gamma_i | E f_i], (n, 2 d), with beta_i + beta' . f_i behind it where there are biases."""
        rows = torch.cat([factors, content], dim=1)
        return rows if bias is None else torch.cat([rows[:, :-1], rows[:, -1:] + bias], dim=1)

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """[gamma_u | theta_u] and [gamma_i | E f_i], (U, 2 d) and (I, 2 d), a column more with biases."""
        users = self._user_rows(self.user_table.clone())
        return users, self._item_rows(self.item_table, self.content(), self.item_bias)
