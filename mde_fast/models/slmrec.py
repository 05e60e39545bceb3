"""SLMRec (Tao et al., TMM 2022), task FAC: contrast of users with items, and of an item's modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import CSRGraph, normalize_rows, spmm
from ..nn.contrast import InfoNCE
from ..nn.factors import on_rows
from ..nn.linear import linear
from ..nn.towers import FeatureTower
from ..options import Options, at_least, option, positive
from .model import Batch, Inputs, Model

ROWS_PER_BLOCK = 4096  # of all nodes, when everyone is embedded


@dataclass(frozen=True)
class SLMRecOptions(Options):
    """ssl_temp and ssl_alpha are the authors' own (for MovieLens); MMRec publishes the grid that a search tries."""

    owner: ClassVar[str] = "slmrec"
    mmrec_ignored: ClassVar = {
        "reg": "never read by the published code, though its grid names it",
        "ssl_task": "FAC; FD, FM and FD+FM do not run in MMRec, which asks for the features of a third modality",
        "dropout_rate": "of the tasks FD and FD+FM",
        "mm_fusion_mode": "concat; mean does not run in MMRec, whose fusing layer is as wide as the concatenation",
        "init": "xavier; normal does not run in MMRec, which asks for a table that is not there",
    }

    embedding_size: int = option(64, "d, dimensions of an embedding", mmrec=("recdim",), check=at_least(2))
    n_layers: int = option(3, "L, layers on the user-item graph", mmrec=("layer_num",), check=at_least(0))
    temperature: float = option(0.2, "tau of the contrast of users and items", mmrec=("temp",), check=positive)
    ssl_temp: float = option(0.2, "tau of FAC", check=positive, search=(0.1, 0.2, 0.5, 1.0))
    ssl_alpha: float = option(
        0.1, "alpha, coefficient of FAC; 0 leaves it out", check=at_least(0), search=(0.01, 0.05, 0.1, 0.5, 1.0)
    )
    weight_decay: float = option(0.0001, "of Adam, here as half the squares of all parameters", check=at_least(0))
    adj_type: str = option(
        "pre", "weights of messages: pre D^-1/2 A D^-1/2, gcmc D^-1 A, plain A", choices=("pre", "gcmc", "plain")
    )
    propagate_once: bool = option(
        True,
        "propagate the frozen features once, and keep (U + I) F numbers; otherwise their embeddings at every step",
    )
    unused_layer: bool = option(
        True,
        "with two modalities: keep the layer of the third, which nothing contrasts there (published code)",
    )


class SLMRec(Model[SLMRecOptions]):
    """LightGCN on the ids and on each modality, fused by a linear layer, trained by InfoNCE within the batch.

    Fine and coarse alignment (FAC): the ids' space is led on, layer by layer, to a space with each next modality; in
    each the item's two rows are to find each other among the batch's. Modalities in the dataset's order, text last.
    """

    title = "SLMRec (2022): self-supervised, task FAC"
    Options = SLMRecOptions
    reach: Tensor
    min_modalities = 1
    part_names = ("contrast", "fac", "weight_decay")

    def __init__(self, options: SLMRecOptions, inputs: Inputs, user_item: CSRGraph):
        """``user_item`` (U + I, U + I), symmetric, users first."""
        super().__init__()
        self.options = options
        self.from_items, self.from_users = _both_ways(user_item, inputs.num_users, options.adj_type)
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        width, generator = options.embedding_size, inputs.generator

        def layer(outputs: int, columns: int = width) -> nn.Linear:
            made = linear(columns, outputs, generator)
            nn.init.xavier_uniform_(made.weight, generator=generator)
            return made

        self.user_table = nn.Parameter(torch.empty(self.num_users, width))
        self.item_table = nn.Parameter(torch.empty(self.num_items, width))
        for table in (self.user_table, self.item_table):
            nn.init.xavier_uniform_(table, generator=generator)
        names = sorted(inputs.features, key=lambda name: name == "text")
        self.towers = nn.ModuleList()
        for name in names:
            features = inputs.rank(name, F.normalize(inputs.features[name].float(), dim=1))  # (I, F)
            tower = FeatureTower(
                on_rows(self._at_every_node, features) if options.propagate_once else features,
                width,
                precision=inputs.precision,
                generator=generator,
            )
            nn.init.xavier_uniform_(tower.first.weight, generator=generator)
            self.towers.append(tower)
        if options.propagate_once:
            self.register_buffer("reach", self._at_every_node(torch.ones(self.num_items, 1)), persistent=False)
        self.user_fusion = layer(width, width * (1 + len(names)))
        self.item_fusion = layer(width, width * (1 + len(names)))
        # The spaces of FAC, one for each modality; the last of several has half the width.
        widths = [width] * (len(names) - 1) + [width if len(names) == 1 else width // 2]
        self.id_layers = nn.ModuleList(layer(outputs) for outputs in widths)
        self.modality_layers = nn.ModuleList(layer(outputs) for outputs in widths)
        self.unused_layer = layer(width) if options.unused_layer and len(names) == 2 else None

    @classmethod
    def build(cls, options: SLMRecOptions, inputs: Inputs) -> SLMRec:
        return cls(options, inputs, inputs.graphs.user_item())

    @torch.no_grad()
    def _at_every_node(self, content: Tensor) -> Tensor:
        """Items' frozen content (I, F), added up over LightGCN's layers: what reaches each node of it, (U + I, F).

        Layers and towers are linear: the tower of a sum of layers is the sum of the layers of a tower.
        """
        content = content.to(self.from_items.device)
        items, users = _sums_of_layers(self.from_items, self.from_users, content, self.options.n_layers)
        return torch.cat([users, items]).cpu()

    def encode(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Sums over LightGCN's layers of what is learned: of the user table, and of the items' tables side by side.

        All 1 + M graphs have the same user table, and layers are linear: what comes from users is made once.

        Returns:
            At users (U, D) and (U, T D), at items (I, D) and (I, T D). T is 1, the ids, where the features were
            propagated beforehand, else 1 + M.
        """
        tables: list[Tensor] = [self.item_table]
        if not self.options.propagate_once:
            tables += [tower() for tower in self.towers]
        layers = self.options.n_layers
        users_of_users, items_of_users = _sums_of_layers(self.from_users, self.from_items, self.user_table, layers)
        items_of_items, users_of_items = _sums_of_layers(
            self.from_items, self.from_users, torch.cat(tables, dim=1), layers
        )
        return (users_of_users, users_of_items), (items_of_users, items_of_items)

    def _rows(self, sums: tuple[Tensor, Tensor], rows: Tensor, first: int) -> Tensor:
        """(B, (1 + M) D) mean over layers of ids and modalities, of a side's rows (B,); its row 0 is node ``first``."""
        of_users, of_items = (F.embedding(rows, table) for table in sums)
        parts = [of_items]
        if self.options.propagate_once:
            nodes = rows + first
            for tower in self.towers:
                assert isinstance(tower, FeatureTower)
                # The tower has added its bias once, and it too comes along every path.
                parts.append(tower(nodes) + (F.embedding(nodes, self.reach) - 1) * tower.first.bias)
        return (of_users.repeat(1, 1 + len(self.towers)) + torch.cat(parts, dim=1)) / (self.options.n_layers + 1)

    def loss_parts(self, batch: Batch) -> Tensor:
        """InfoNCE of users and items, alpha times that of FAC; the batch's negatives are not looked at."""
        options = self.options
        users, items = self.encode()
        z_users, z_items = self._rows(users, batch.users, 0), self._rows(items, batch.positives, self.num_users)
        contrast = InfoNCE.apply(
            normalize_rows(self.user_fusion(z_users)), normalize_rows(self.item_fusion(z_items)), options.temperature
        )
        fac = self._fine_and_coarse(z_items) if options.ssl_alpha else contrast.new_zeros(())
        # Adam's own weight decay adds weight_decay * p to the gradient of p: that of half the squares.
        squares = torch.stack([torch.linalg.vector_norm(parameter) for parameter in self.parameters()]).square().sum()
        return torch.stack([contrast, options.ssl_alpha * fac, options.weight_decay / 2 * squares])

    def _fine_and_coarse(self, z_items: Tensor) -> Tensor:
        """The sum of the modalities' contrasts, from (B, (1 + M) D); inner products, not cosines."""
        chained, *modalities = z_items.chunk(1 + len(self.towers), dim=1)
        losses = []
        for number, modality in enumerate(modalities):
            if number == 1 and self.unused_layer is not None:
                chained = self.unused_layer(chained)
            chained = self.id_layers[number](chained)
            losses.append(InfoNCE.apply(chained, self.modality_layers[number](modality), self.options.ssl_temp))
        return torch.stack(losses).sum()

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Both sides fused, (U, D) and (I, D); not normalised, though trained by cosines."""
        users, items = self.encode()
        return (
            torch.cat([self.user_fusion(self._rows(users, rows, 0)) for rows in self._blocks(self.num_users)]),
            torch.cat(
                [self.item_fusion(self._rows(items, rows, self.num_users)) for rows in self._blocks(self.num_items)]
            ),
        )

    def _blocks(self, count: int) -> tuple[Tensor, ...]:
        """Row numbers up to ``count``, a few at a time, as each takes its features along."""
        return torch.arange(count, device=self.user_table.device).split(ROWS_PER_BLOCK)


def _both_ways(user_item: CSRGraph, num_users: int, adj_type: str) -> tuple[CSRGraph, CSRGraph]:
    """The messages from items to users, (U, I), and from users to items, (I, U), weighted as ``adj_type`` says."""
    count = int(user_item.rowptr[num_users])
    degrees, users, items = user_item.degrees().double(), user_item.rows()[:count], user_item.columns[:count]
    of_user, of_item = degrees[users.long()], degrees[items.long()]  # of each edge's two ends
    to_users, to_items = {
        "pre": ((of_user * of_item).rsqrt(),) * 2,
        "gcmc": (1 / of_user, 1 / of_item),
        "plain": (torch.ones_like(of_user),) * 2,
    }[adj_type]
    shape = num_users, user_item.shape[0] - num_users
    from_items, to_transpose = (
        CSRGraph(user_item.rowptr[: num_users + 1], items - num_users, shape, values) for values in (to_users, to_items)
    )
    return from_items.prepare(), to_transpose.transpose().prepare()


def _sums_of_layers(there: CSRGraph, back: CSRGraph, x: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    """The sums of x's even layers, which are on its own side, and of its odd ones, on the other (Horner's scheme)."""
    even, odd = x, x.new_zeros(there.shape[0], x.shape[1])
    for layer in range(1, layers + 1):
        if layer % 2:
            odd = spmm(there, even)
        else:
            even = spmm(back, odd, residual=x)
    return even, odd
