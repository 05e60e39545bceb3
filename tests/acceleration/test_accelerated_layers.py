"""PyTorch Geometric's layers that compute A x."""

import copy
import gc

import pytest
import torch
from other_models import dataset, train
from torch import nn
from torch.nn import functional as F

from mde_fast import accelerate
from mde_fast.errors import InputError
from mde_fast.ranking.evaluator import Evaluator

pytest.importorskip("torch_geometric", reason='PyTorch Geometric is not installed: pip install -e ".[interop]"')
from torch_geometric.nn import GATConv, GCNConv, LGConv, LightGCN, MessagePassing
from torch_geometric.utils import degree

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")


class RowNormalised(MessagePassing):
    """A convolution of one's own, weights made from the edges inside ``message``, as DRAGON and MMGCN write it."""

    def __init__(self):
        super().__init__(aggr="add")

    def forward(self, x, edge_index):
        return self.propagate(edge_index, size=(x.size(0), x.size(0)), x=x)

    def message(self, x_j, edge_index, size):
        row, column = edge_index
        scale = degree(row, size[0], dtype=x_j.dtype).pow(-0.5)
        return (scale[row] * scale[column]).view(-1, 1) * x_j


class Weighted(MessagePassing):
    """RecBole-GNN's: edge weights are given."""

    def forward(self, x, edge_index, edge_weight):
        return self.propagate(edge_index, x=x, edge_weight=edge_weight)

    def message(self, x_j, edge_weight):
        return edge_weight.view(-1, 1) * x_j


class Nonlinear(MessagePassing):
    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=x)

    def message(self, x_j):
        return x_j.tanh()


def _edges(data, dtype=torch.int64):
    users, items = (torch.from_numpy(column) for column in (data.train.users, data.train.items))
    edges = torch.stack([users, items + data.num_users]).to(dtype)
    return torch.cat([edges, edges.flip(0)], dim=1)


class Stack(nn.Module):
    """Layers over a user-item graph, trained by BPR."""

    def __init__(self, data, make_layer, *, weights=False):
        super().__init__()
        self.num_users, self.num_items = data.num_users, data.num_items
        self.edge_index = _edges(data)
        self.weights = (torch.linspace(0.5, 2, self.edge_index.shape[1], dtype=torch.float64),) if weights else ()
        self.embedding = nn.Parameter(torch.randn(self.num_users + self.num_items, 6, dtype=torch.float64))
        self.convs = nn.ModuleList([make_layer().double() for _ in range(2)])

    def begin_epoch(self, rng):
        """Another edge list for every epoch."""
        keep = torch.from_numpy(rng.random(self.edge_index.shape[1]) < 0.9)
        self.weights = tuple(weight[keep] for weight in self.weights)
        self.edge_index = self.edge_index[:, keep]

    def forward(self):
        x = total = self.embedding
        for conv in self.convs:
            x = conv(x, self.edge_index, *self.weights)
            total = total + x
        return torch.split(total, [self.num_users, self.num_items])

    def loss(self, users, positives, negatives):
        user_vectors, item_vectors = self()
        return -F.logsigmoid((user_vectors[users] * (item_vectors[positives] - item_vectors[negatives])).sum(1)).mean()


LAYERS = {
    "LGConv": (LGConv, {}),
    "LGConv, weights": (LGConv, {"weights": True}),
    "LGConv, not normalised": (lambda: LGConv(normalize=False), {}),
    "LGConv, other way round": (lambda: LGConv(flow="target_to_source"), {"weights": True}),
    "GCNConv": (lambda: GCNConv(6, 6), {}),
    "GCNConv without loops and bias": (lambda: GCNConv(6, 6, add_self_loops=False, bias=False), {}),
    "GCNConv improved, weights": (lambda: GCNConv(6, 6, improved=True), {"weights": True}),
    "RowNormalised": (RowNormalised, {}),
    "Weighted": (Weighted, {"weights": True}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_training_is_the_same(name):
    data = dataset()
    make_layer, options = LAYERS[name]
    torch.manual_seed(0)
    plain = Stack(data, make_layer, **options)
    fast = copy.deepcopy(plain)
    acceleration = accelerate(fast, layers=(RowNormalised, Weighted))
    expected, actual = train(plain, data), train(fast, data)
    assert actual["losses"] == pytest.approx(expected["losses"], rel=1e-9)
    for ours, theirs in zip(actual["gradients"], expected["gradients"]):
        assert ours.keys() == theirs.keys()
        for parameter, gradient in theirs.items():
            torch.testing.assert_close(ours[parameter], gradient, rtol=1e-7, atol=1e-9)
    products = [replaced.products for replaced in acceleration.report().replaced]
    # In an epoch's first step a layer meets the edges, in the second it derives its matrix, unless another layer has.
    assert products == ([2, 4] if make_layer not in (RowNormalised, Weighted) else [2, 2])
    evaluator = Evaluator(data, (10,))
    with torch.no_grad():
        assert evaluator(*fast(), "test") == pytest.approx(evaluator(*plain(), "test"))
    acceleration.undo()
    assert [type(conv) for conv in fast.convs] == [type(conv) for conv in plain.convs]


def test_lightgcn_of_pytorch_geometric():
    """The model as it is installed: losses, gradients, recommendations."""
    data = dataset()
    edges = _edges(data)
    torch.manual_seed(0)
    plain = LightGCN(data.num_users + data.num_items, 8, num_layers=3).double()
    fast = copy.deepcopy(plain)
    acceleration = accelerate(fast)
    label_edges = torch.cat([edges[:, :50], edges[:, :50].flip(0)[:, torch.randperm(50)]], dim=1)
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in (plain, fast)]
    for _ in range(5):
        losses = []
        for model, optimizer in zip((plain, fast), optimizers):
            optimizer.zero_grad()
            ranks = model(edges, label_edges)
            loss = model.recommendation_loss(*ranks.chunk(2), node_id=label_edges.unique())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[1] == pytest.approx(losses[0], rel=1e-10)
        torch.testing.assert_close(fast.embedding.weight.grad, plain.embedding.weight.grad, rtol=1e-7, atol=1e-12)
    assert [replaced.products for replaced in acceleration.report().replaced] == [3, 4, 4]
    users = torch.arange(data.num_users)
    items = torch.arange(data.num_users, data.num_users + data.num_items)
    recommended = [model.recommend(edges, src_index=users, dst_index=items, k=5) for model in (plain, fast)]
    assert torch.equal(*recommended)


def _used(layer, x, edges):
    """A stack with one layer that has its graph for ``edges``."""
    holder = nn.Sequential(layer)
    acceleration = accelerate(holder, layers=(RowNormalised, Nonlinear))
    for _ in range(3):
        holder[0](x, edges)
    return holder[0], acceleration


def test_another_edge_list_and_a_changed_one():
    x = torch.randn(65, 4, dtype=torch.float64)
    edges = _edges(dataset())
    layer, acceleration = _used(LGConv(), x, edges)
    for other in (edges[:, ::2].contiguous(), edges.flip(0)[:, :30].contiguous(), edges.clone()):
        for _ in range(3):
            torch.testing.assert_close(layer(x, other), LGConv()(x, other))
    edges[:, :5] = 0
    for _ in range(3):
        torch.testing.assert_close(layer(x, edges), LGConv()(x, edges))
    weights = torch.rand(edges.shape[1], dtype=torch.float64)
    for _ in range(3):
        torch.testing.assert_close(layer(x, edges, weights), LGConv()(x, edges, weights))
        torch.testing.assert_close(layer(x, edge_index=edges, edge_weight=weights), LGConv()(x, edges, weights))
        weights.mul_(torch.arange(len(weights)))
    assert torch.equal(layer(torch.cat([x, x]), edges)[65:], torch.zeros_like(x)), "more nodes than the edges name"


def test_graphs_go_with_their_edge_lists():
    x = torch.randn(65, 4, dtype=torch.float64)
    layer, acceleration = _used(LGConv(), x, _edges(dataset()))
    gc.collect()
    assert acceleration.report().replaced[0].products == 1 and not acceleration._operators._known


def test_layers_of_the_same_settings_share_a_graph():
    x = torch.randn(65, 4, dtype=torch.float64)
    edges = _edges(dataset())
    model = nn.Sequential(LGConv(), LGConv(), LGConv(normalize=False))
    acceleration = accelerate(model)
    for _ in range(3):
        for layer in model:
            x = layer(x, edges) / 10
    assert [replaced.products for replaced in acceleration.report().replaced] == [1, 2, 1]


def test_gcn_learns_after_its_graph_is_kept():
    """Only A is kept: changed weights count at once."""
    x = torch.randn(65, 4, dtype=torch.float64)
    edges = _edges(dataset())
    torch.manual_seed(0)
    layer, _ = _used(GCNConv(4, 3).double(), x, edges)
    with torch.no_grad():
        layer.lin.weight.mul_(-2)
        layer.bias.add_(1)
    other = GCNConv(4, 3).double()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, edges), other(x, edges))


REFUSED = {
    "not linear": (Nonlinear, {}, "differs by"),
    "mean": (lambda: LGConv(aggr="mean"), {}, "differs by"),
    "cached": (lambda: GCNConv(4, 4, cached=True).double(), {}, "cached"),
    "gradients": (LGConv, {"edge_weight": lambda n: torch.ones(n, dtype=torch.float64).requires_grad_()}, "gradients"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_left_to_the_layer(name):
    make_layer, extra, reason = REFUSED[name]
    x = torch.randn(65, 4, dtype=torch.float64)
    edges = _edges(dataset())
    torch.manual_seed(1)
    layer = make_layer()
    plain = copy.deepcopy(layer)
    holder = nn.Sequential(layer)
    acceleration = accelerate(holder, layers=(Nonlinear,))
    options = {key: make(edges.shape[1]) for key, make in extra.items()}
    for _ in range(4):
        assert torch.equal(layer(x, edges, **options), plain(x, edges, **options))
    report = acceleration.report()
    assert report.replaced[0].products == 0
    assert any(reason in what for what in report.left_to_torch), report.left_to_torch


def test_hooks_keep_working():
    x = torch.randn(65, 4, dtype=torch.float64)
    edges = _edges(dataset())
    layer, acceleration = _used(LGConv(), x, edges)
    seen = []
    layer.register_message_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(layer(x, edges), LGConv()(x, edges))
    assert seen and any("hooks" in what for what in acceleration.report().left_to_torch)


def test_other_layers_are_not_touched():
    model = nn.Sequential(GATConv(4, 4))
    acceleration = accelerate(model)
    assert type(model[0]) is GATConv and not acceleration.report().replaced


def test_a_sparse_matrix_as_edge_list():
    """PyG multiplies by it with torch.sparse.mm: ours, when the model holds it."""
    data = dataset()
    edges = _edges(data)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.adjacency = torch.sparse_coo_tensor(
                edges, torch.ones(edges.shape[1], dtype=torch.float64), (65, 65)
            ).coalesce()
            self.conv = LGConv(normalize=False)

        def forward(self, x):
            return self.conv(x, self.adjacency)

    x = torch.randn(65, 4, dtype=torch.float64)
    model = Model()
    expected = model(x)
    acceleration = accelerate(model, min_edges=0)
    torch.testing.assert_close(model(x), expected)
    products = {replaced.name: replaced.products for replaced in acceleration.report().replaced}
    assert products == {"adjacency": 1, "conv": 0}


@pytest.mark.parametrize("layers", ((nn.Linear,), nn.Linear), ids=("several", "one"))
def test_a_layer_class_that_is_none(layers):
    with pytest.raises(InputError, match="MessagePassing"):
        accelerate(nn.Linear(2, 2), layers=layers)
