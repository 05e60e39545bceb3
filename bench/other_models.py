"""Training steps of other codebases' models, as they hold their graphs and multiply."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rivals import combine_layers

LAYERS, ITEM_NEIGHBOURS = 3, 10


def normalised(matrix: scipy.sparse.csr_matrix) -> Tensor:
    """D^-1/2 [[0, R], [R^T, 0]] D^-1/2 as an uncoalesced COO tensor."""
    adjacency = scipy.sparse.bmat([[None, matrix], [matrix.T, None]], format="csr")
    scale = scipy.sparse.diags(np.power(np.asarray(adjacency.sum(1)).ravel() + 1e-7, -0.5))
    coo = (scale @ adjacency @ scale).tocoo()
    indices = torch.from_numpy(np.vstack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(indices, torch.from_numpy(coo.data.astype(np.float32)), coo.shape)


class OtherModel(nn.Module):
    """Embeddings, BPR and a graph; ``before_step`` is what the codebase does ahead of a batch."""

    def __init__(self, matrix: scipy.sparse.csr_matrix, width: int, device: torch.device):
        super().__init__()
        self.num_users, self.num_items = matrix.shape
        self.embedding = nn.Parameter(torch.randn(sum(matrix.shape), width, device=device) * 0.1)
        self.adjacency = normalised(matrix).to(device)

    def before_step(self) -> None:
        pass

    def embeddings(self) -> Tensor:
        return combine_layers(lambda x: torch.sparse.mm(self.adjacency, x), self.embedding, LAYERS)

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        user_vectors, item_vectors = torch.split(self.embeddings(), [self.num_users, self.num_items])
        scores = (user_vectors[users] * (item_vectors[positives] - item_vectors[negatives])).sum(1)
        return -F.logsigmoid(scores).mean()


class Coo(OtherModel):
    """LightGCN of MMRec and RecBole: COO as constructed."""


class CoalescedCoo(OtherModel):
    """LightGCN-PyTorch."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.adjacency = self.adjacency.coalesce()


class Csr(OtherModel):
    """A CSR matrix and ``@``: MKL on a CPU, cuSPARSE on a GPU."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.adjacency = self.adjacency.coalesce().to_sparse_csr()

    def embeddings(self):
        return combine_layers(lambda x: self.adjacency @ x, self.embedding, LAYERS)


class TwoGraphs(OtherModel):
    """FREEDOM: a masked graph in two layers and a frozen item graph (here of random neighbours)."""

    def __init__(self, matrix, width, device):
        super().__init__(matrix, width, device)
        items = torch.arange(self.num_items).repeat_interleave(ITEM_NEIGHBOURS)
        neighbours = torch.randint(self.num_items, items.shape, generator=torch.Generator().manual_seed(0))
        values = torch.full(items.shape, 1 / ITEM_NEIGHBOURS)
        shape = (self.num_items, self.num_items)
        self.item_graph = torch.sparse_coo_tensor(torch.stack([items, neighbours]), values, shape).to(device)

    def embeddings(self):
        items = torch.sparse.mm(self.item_graph, self.embedding[self.num_users :])
        out = combine_layers(lambda x: torch.sparse.mm(self.adjacency, x), self.embedding, 2)
        return out + F.pad(items, (0, 0, self.num_users, 0))


class NewGraphEveryStep(OtherModel):
    """Edge dropout in every step: what is kept of a graph is used for one step only."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.register_buffer("whole_indices", self.adjacency._indices())
        self.register_buffer("whole_values", self.adjacency._values())
        self.generator_seed = 0

    def before_step(self):
        self.generator_seed += 1
        generator = torch.Generator(self.whole_values.device).manual_seed(self.generator_seed)
        keep = torch.rand(self.whole_values.shape, generator=generator, device=self.whole_values.device) < 0.9
        self.adjacency = torch.sparse_coo_tensor(
            self.whole_indices[:, keep], self.whole_values[keep] / 0.9, self.adjacency.shape
        )


class EdgeDropout(OtherModel):
    """SELFCF, and RecBole's SparseDropout: half of the edges, chosen and used within a step."""

    keep = 0.5

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps = 0

    def drawn(self) -> Tensor:
        """(edges,) numbers from 0 to 1, others in every step."""
        self.steps += 1
        values = self.adjacency._values()
        generator = torch.Generator(values.device).manual_seed(self.steps)
        return torch.rand(values.shape, generator=generator, device=values.device)

    def dropped(self) -> Tensor:
        keep = torch.floor(self.drawn() + self.keep).bool()
        indices, values = self.adjacency._indices(), self.adjacency._values()
        return torch.sparse_coo_tensor(indices[:, keep], values[keep], self.adjacency.shape) * (1 / self.keep)

    def embeddings(self):
        graph = self.dropped()
        return combine_layers(lambda x: torch.sparse.mm(graph, x), self.embedding, LAYERS)


class ValueDropout(EdgeDropout):
    """Dropout of a coalesced matrix's values: all edges, those that are dropped with the value 0."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.adjacency = self.adjacency.coalesce()

    def dropped(self):
        values = self.adjacency.values() * (self.drawn() < self.keep) / self.keep
        return torch.sparse_coo_tensor(self.adjacency.indices(), values, self.adjacency.shape)


class GeometricLightGCN(OtherModel):
    """``LGConv`` of PyTorch Geometric, which normalises anew in every layer."""

    def __init__(self, *arguments):
        from torch_geometric.nn import LGConv

        super().__init__(*arguments)
        self.edge_index = self.adjacency._indices()
        self.convs = nn.ModuleList([LGConv() for _ in range(LAYERS)])

    def embeddings(self):
        x = total = self.embedding
        for conv in self.convs:
            x = conv(x, self.edge_index)
            total = total + x
        return total / (LAYERS + 1)


_WITH_DROPOUT = NewGraphEveryStep, EdgeDropout, ValueDropout
_CLASSES = Coo, CoalescedCoo, Csr, TwoGraphs, *_WITH_DROPOUT, GeometricLightGCN
MODELS = {model.__name__: model for model in _CLASSES}
