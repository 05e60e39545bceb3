"""Models as others write them, small: what they hold and how they multiply is taken from the field's codebases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from tiny import tiny_dataset
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 6
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}  # Adam magnifies roundings of gradients near 0


def dataset():
    return tiny_dataset(3, num_users=40, num_items=25, density=0.3)


def normalised(matrix: scipy.sparse.spmatrix) -> scipy.sparse.coo_matrix:
    """D^-1/2 A D^-1/2."""
    matrix = matrix.tocsr()
    scale = scipy.sparse.diags(np.power(np.asarray(matrix.sum(1)).ravel() + 1e-7, -0.5))
    return (scale @ matrix @ scale).tocoo()


def coo(matrix: scipy.sparse.coo_matrix, dtype: torch.dtype) -> Tensor:
    """Not coalesced, as the constructor leaves it."""
    indices = torch.from_numpy(np.vstack([matrix.row, matrix.col]).astype(np.int64))
    return torch.sparse_coo_tensor(indices, torch.from_numpy(matrix.data).to(dtype), matrix.shape)


def knn_graph(features: np.ndarray, k: int, dtype: torch.dtype) -> Tensor:
    """An item graph: k nearest by cosine, normalised by its out-degrees alone, so not symmetric."""
    unit = F.normalize(torch.from_numpy(features), dim=1)
    _, neighbours = torch.topk(unit @ unit.T, k, dim=1)
    indices = torch.stack([torch.arange(len(unit)).repeat_interleave(k), neighbours.flatten()])
    return torch.sparse_coo_tensor(indices, torch.full((indices.shape[1],), 1 / k, dtype=dtype), (len(unit), len(unit)))


class OtherModel(nn.Module):
    """What a training loop needs; each subclass has a graph of its own and ``all_embeddings``."""

    def __init__(self, data, dtype: torch.dtype):
        super().__init__()
        self.num_users, self.num_items = data.num_users, data.num_items
        self.interactions = scipy.sparse.coo_matrix(data.train_matrix)
        self.dtype = dtype
        self.embedding = nn.Parameter(torch.randn(self.num_users + self.num_items, WIDTH, dtype=dtype) * 0.1)
        self.layers = 2

    def adjacency(self) -> scipy.sparse.coo_matrix:
        return normalised(scipy.sparse.bmat([[None, self.interactions], [self.interactions.T, None]]))

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Graphs that are drawn anew."""

    def propagate(self, graph, x: Tensor) -> Tensor:
        layers = [x]
        for layer in range(self.layers):
            layers.append(torch.sparse.mm(graph[layer] if isinstance(graph, list) else graph, layers[-1]))
        return torch.stack(layers, dim=1).mean(dim=1)

    def forward(self) -> tuple[Tensor, Tensor]:
        return torch.split(self.all_embeddings(), [self.num_users, self.num_items])

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        user_vectors, item_vectors = self()
        scores = (user_vectors[users] * (item_vectors[positives] - item_vectors[negatives])).sum(1)
        return -F.logsigmoid(scores).mean() + 1e-3 * self.embedding[users].square().mean()


class CooAttribute(OtherModel):
    """MMRec's LightGCN: an attribute, COO as constructed."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.norm_adj = coo(self.adjacency(), dtype)

    def all_embeddings(self):
        return self.propagate(self.norm_adj, self.embedding)


class Folds(OtherModel):
    """LightGCN-PyTorch with ``A_split``: coalesced row blocks in a list."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        adjacency = self.adjacency().tocsr()
        self.graph = [coo(adjacency[start : start + 20].tocoo(), dtype).coalesce() for start in range(0, 65, 20)]

    def all_embeddings(self):
        layers = [self.embedding]
        for _ in range(self.layers):
            layers.append(torch.cat([torch.sparse.mm(fold, layers[-1]) for fold in self.graph]))
        return torch.stack(layers).mean(0)


class CsrBuffer(OtherModel):
    """A CSR buffer and ``@``."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.register_buffer("graph", coo(self.adjacency(), dtype).coalesce().to_sparse_csr())

    def all_embeddings(self):
        x = total = self.embedding
        for _ in range(self.layers):
            x = self.graph @ x
            total = total + x
        return total / (self.layers + 1)


class MaskedAdjacency(OtherModel):
    """FREEDOM: a masked graph each epoch, a frozen item graph that blends the modalities', towers beside."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.norm_adj = coo(self.adjacency(), dtype)
        self.masked_adj = None
        image, text = (knn_graph(features, 5, dtype) for features in data.features.values())
        self.mm_adj = 0.1 * image + 0.9 * text
        self.features = nn.Embedding.from_pretrained(torch.tensor(data.features["image"], dtype=dtype), freeze=False)
        self.tower = nn.Linear(self.features.weight.shape[1], WIDTH, bias=False, dtype=dtype)

    def begin_epoch(self, rng):
        keep = rng.random(self.interactions.nnz) < 0.8
        rows, columns = self.interactions.row[keep], self.interactions.col[keep]
        kept = scipy.sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), self.interactions.shape)
        scale = [np.power(np.asarray(kept.sum(axis)).ravel() + 1e-7, -0.5) for axis in (1, 0)]
        values = torch.from_numpy(scale[0][rows] * scale[1][columns]).to(self.dtype)
        edges = torch.from_numpy(np.stack([rows, columns + self.num_users]).astype(np.int64))
        self.masked_adj = torch.sparse_coo_tensor(
            torch.cat([edges, edges.flip(0)], 1), torch.cat([values, values]), self.norm_adj.shape
        )

    def all_embeddings(self):
        items = self.tower(self.features.weight) + self.embedding[self.num_users :]
        h = torch.sparse.mm(self.mm_adj, items)
        out = self.propagate(self.masked_adj if self.training else self.norm_adj, self.embedding)
        return out + torch.cat([torch.zeros_like(out[: self.num_users]), h])


class EdgeDropoutViews(OtherModel):
    """SGL: two views a step for a contrastive loss, a list that is emptied and filled every epoch."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.norm_adj = coo(self.adjacency(), dtype)
        self.views = []

    def begin_epoch(self, rng):
        self.views = []
        for _ in range(2):
            keep = rng.random(self.interactions.nnz) < 0.7
            kept = self.interactions.copy()
            kept.data = kept.data * keep
            graph = normalised(scipy.sparse.bmat([[None, kept], [kept.T, None]]))
            self.views.append(coo(graph, self.dtype))

    def all_embeddings(self):
        return self.propagate(self.norm_adj, self.embedding)

    def loss(self, users, positives, negatives):
        first, second = (F.normalize(self.propagate(view, self.embedding)[users], dim=1) for view in self.views)
        contrast = F.cross_entropy(first @ second.T / 0.2, torch.arange(len(users)))
        return super().loss(users, positives, negatives) + 0.1 * contrast


class ModalityTowers(OtherModel):
    """MGCN, LATTICE: a rectangular interaction matrix, an item graph and a tower for each modality, in a dict."""

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.norm_adj = coo(self.adjacency(), dtype)
        self.R = coo(self.interactions, dtype)
        self.item_graphs = {name: knn_graph(features, 4, dtype) for name, features in data.features.items()}
        self.tables = {name: torch.from_numpy(features).to(dtype) for name, features in data.features.items()}
        self.towers = nn.ModuleDict(
            {name: nn.Linear(table.shape[1], WIDTH, dtype=dtype) for name, table in self.tables.items()}
        )

    def all_embeddings(self):
        total = self.propagate(self.norm_adj, self.embedding)
        for name, table in self.tables.items():
            items = torch.mm(self.item_graphs[name], torch.sigmoid(self.towers[name](table)))
            of_users = torch.spmm(self.R.t(), total[: self.num_users])
            total = total + torch.cat([torch.sparse.mm(self.R, items), items + of_users])
        return total


_CLASSES = CooAttribute, Folds, CsrBuffer, MaskedAdjacency, EdgeDropoutViews, ModalityTowers
MODELS = {model.__name__: model for model in _CLASSES}


def train(model: nn.Module, data, *, epochs: int = 2, steps: int = 3, seed: int = 0) -> dict[str, list]:
    """Losses and gradients of every step; the model is trained in place."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses, gradients = [], []
    for _ in range(epochs):
        model.train()
        model.begin_epoch(rng)
        for _ in range(steps):
            chosen = rng.integers(len(data.train), size=32)
            users, positives = (torch.from_numpy(column[chosen]) for column in (data.train.users, data.train.items))
            negatives = torch.from_numpy(rng.integers(data.num_items, size=32))
            optimizer.zero_grad()
            loss = model.loss(users, positives, negatives)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    return {"losses": losses, "gradients": gradients}


def assert_same_training(actual: dict, expected: dict, dtype: torch.dtype) -> None:
    """Losses and gradients of two trainings, as :func:`train` returns them."""
    assert actual["losses"] == pytest.approx(expected["losses"], rel=TOLERANCE[dtype])
    for ours, theirs in zip(actual["gradients"], expected["gradients"]):
        for parameter, gradient in theirs.items():
            error = (ours[parameter] - gradient).norm() / gradient.norm()
            assert error < TOLERANCE[dtype], f"{parameter}: {error:.1e}"
