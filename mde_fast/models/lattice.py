"""LATTICE (Zhang et al., MM 2021): an item graph for each modality that is learned with the features' projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..graphs.neighbours import nearest_rows
from ..kernels import CSRGraph, bpr, edge_dots, normalize_rows, source_rows, spmm
from ..kernels.csr import index_dtype
from ..nn.tables import node_table
from ..options import Options, at_least, option, share
from .model import Batch, Inputs, Model


@dataclass(frozen=True)
class LATTICEOptions(Options):
    """As in MMRec, whose grid is reg_weight 0, 1e-5, 1e-4 and 1e-3, and learning_rate 1e-4, 5e-4, 1e-3 and 5e-3."""

    owner: ClassVar[str] = "lattice"
    mmrec_ignored: ClassVar = {
        "mess_dropout": "of the backbone NGCF, which is not here",
        "weight_size": "its length is n_ui_layers, 2 in MMRec's file; its widths are NGCF's",
    }

    embedding_size: int = option(64, "d, dimensions of an id embedding", check=at_least(1))
    feat_embed_dim: int = option(
        64, "dimensions of a modality's projection, in which items are compared", check=at_least(1)
    )
    cf_model: str = option(
        "lightgcn",
        "what gives embeddings beside the item graph: lightgcn, or mf without a graph",
        choices=("lightgcn", "mf"),
    )
    n_ui_layers: int = option(2, "layers on the user-item graph", check=at_least(0))
    n_layers: int = option(1, "layers on the item graph", check=at_least(0))
    knn_k: int = option(10, "neighbours in each modality's item graph", check=at_least(1))
    lambda_coeff: float = option(0.9, "lambda, share of the graph of raw features beside the learned one", check=share)
    reg_weight: float = option(
        0.0, "of half the squared norms of a triple's embeddings", check=at_least(0), search=(0.0, 1e-5, 1e-4, 1e-3)
    )
    train_features: bool = option(True, "learn the items' raw features too, as the published code does")


class LATTICE(Model[LATTICEOptions]):
    """Item ids passed over a graph of similar items, beside LightGCN; who is near whom is found anew each epoch.

    U users, I items, M modalities, k neighbours. The weights of a modality's k edges are cosines of projections that
    every step makes, and learn; which edges there are is decided when an epoch begins.
    """

    title = "LATTICE (2021): item graphs that are learned"
    Options = LATTICEOptions
    min_modalities = 1
    part_names = ("bpr", "regulariser")
    neighbours: Tensor
    raw: Tensor

    def __init__(self, options: LATTICEOptions, inputs: Inputs, user_item: CSRGraph, stacked: CSRGraph):
        """
        Args:
            user_item: D^-1 (A + 1), (U + I, U + I), users first.
            stacked: the raw features' graph of each modality, (I * M, I * M), row ``i * M + m`` modality m of item i.
        """
        super().__init__()
        self.options, self.user_item = options, user_item
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        count, generator = len(inputs.features), inputs.generator
        self.table = node_table(self.num_users, self.num_items, options.embedding_size, generator)
        self.towers = inputs.towers(options.feat_embed_dim, trained=options.train_features, initial="pytorch")
        self.modal_weight = nn.Parameter(torch.full((count,), 1 / count))
        shape = self.num_items, count, -1
        assert stacked.values is not None
        self.raw_graph = _of_all_modalities(stacked.columns.long().view(shape) // count)
        self.register_buffer("raw", stacked.values.view(shape).clone(), persistent=False)  # (I, M, k)
        with torch.no_grad():
            self.register_buffer("neighbours", self._nearest(self._projected()))  # (I, M, k) int64
        self._make_graphs(user_item.device)

    @classmethod
    def build(cls, options: LATTICEOptions, inputs: Inputs) -> LATTICE:
        stacked = inputs.graphs.cosine_item_graphs((options.knn_k,) * len(inputs.features))
        return cls(options, inputs, inputs.graphs.random_walk(), stacked)

    def begin_epoch(self, generator: torch.Generator) -> bool:
        """Find the items that are nearest in each modality's projection as it is now."""
        with torch.no_grad():
            self.neighbours.copy_(self._nearest(self._projected()))
        return self.resume_epoch(generator)

    def resume_epoch(self, generator: torch.Generator) -> bool:
        """The graphs of the neighbours that the epoch began with."""
        self._make_graphs(self.neighbours.device)
        return True

    def _projected(self) -> Tensor:
        """(I, M, D) of length 1."""
        return normalize_rows(torch.stack([tower() for tower in self.towers], dim=1))

    def _nearest(self, projected: Tensor) -> Tensor:
        """(I, M, k) items of largest cosine, of projections (I, M, D)."""
        return torch.stack([nearest_rows(rows, self.options.knn_k) for rows in projected.unbind(1)], dim=1)

    def _make_graphs(self, device: torch.device) -> None:
        neighbours = self.neighbours.to(device)
        self.near = _apart(neighbours)  # (I * M, I * M), to compare projections
        self.learned_graph = _of_all_modalities(neighbours)

    def encode(self, near: CSRGraph, learned_graph: CSRGraph) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d), on graphs with the edges of some neighbours (I, M, k)."""
        options, shares = self.options, torch.softmax(self.modal_weight, dim=0)
        projected = self._projected().flatten(0, 1)
        also = projected.view_as(projected)  # torch.compile takes no tensor twice
        cosines = edge_dots(near, projected, also).view(self.num_items, len(shares), -1)
        weights = shares[:, None] * cosines  # (I, M, k)
        sums = weights.sum((1, 2))
        scale = torch.where(sums > 0, sums, torch.inf).rsqrt()
        weights = scale[:, None] * weights.flatten(1) * source_rows(learned_graph, scale[:, None]).view(len(scale), -1)
        learned = (1 - options.lambda_coeff) * weights.flatten()
        raw = (options.lambda_coeff * shares[:, None] * self.raw).flatten()
        h = self.table[self.num_users :]
        for _ in range(options.n_layers):
            h = spmm(learned_graph, h, values=learned, residual=spmm(self.raw_graph, h, values=raw))
        users, items = self._behaviour().split([self.num_users, self.num_items])
        return users, items + normalize_rows(h)

    def _behaviour(self) -> Tensor:
        """(U + I, d) ids, or their mean over layers of the random walk on the user-item graph."""
        if self.options.cf_model == "mf":
            return self.table
        total = self.table
        for _ in range(self.options.n_ui_layers):  # Horner's scheme: x + A (x + A x)
            total = spmm(self.user_item, total, residual=self.table)
        return total / (self.options.n_ui_layers + 1)

    def loss_parts(self, batch: Batch) -> Tensor:
        """BPR, and lambda times half the squared norm of a triple's three embeddings, mean over the batch."""
        users, items = self.encode(self.near, self.learned_graph)
        losses = bpr(users[:, None], items[:, None], batch.users, batch.positives, batch.negatives)
        triple = (users, batch.users), (items, batch.positives), (items, batch.negatives)
        squares = torch.stack([F.embedding(rows, table).square().sum() for table, rows in triple]).sum()
        return torch.stack([losses[0], self.options.reg_weight * squares / (2 * max(len(batch.users), 1))])

    @torch.no_grad()
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d), with the neighbours of the projections as they are now."""
        neighbours = self._nearest(self._projected())
        return self.encode(_apart(neighbours), _of_all_modalities(neighbours))


def _apart(neighbours: Tensor) -> CSRGraph:
    """(I * M, I * M), row ``i * M + m`` with the k neighbours (I, M, k) of item i in modality m."""
    num_items, count, k = neighbours.shape
    columns = neighbours * count + torch.arange(count, device=neighbours.device)[:, None]
    return _regular(columns.flatten(), num_items * count, k)


def _of_all_modalities(neighbours: Tensor) -> CSRGraph:
    """(I, I), row i with the M * k neighbours (I, M, k) of item i, an item once for each modality that has it."""
    num_items, count, k = neighbours.shape
    return _regular(neighbours.flatten(), num_items, count * k)


def _regular(columns: Tensor, size: int, width: int) -> CSRGraph:
    """(size, size), ``width`` edges a row."""
    index = index_dtype(len(columns), (size, size))
    rowptr = torch.arange(0, len(columns) + 1, width, dtype=index, device=columns.device)
    return CSRGraph(rowptr, columns.to(index), (size, size)).prepare()
