"""Matrices that a model makes within a step from the edges of an accelerated one."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from other_models import TOLERANCE, OtherModel, assert_same_training, coo, dataset, train
from torch import Tensor, nn
from torch.nn import functional as F

from mde_fast import accelerate
from mde_fast.acceleration.indices import Indices
from mde_fast.acceleration.matrix import SparseMatrix
from mde_fast.ranking.evaluator import Evaluator

pytestmark = pytest.mark.filterwarnings("ignore:Sparse", "ignore:torch.sparse.SparseTensor")

NODES = 30


# ---------------------------------------------------------------------------------------------------------------------
# Models


class StepModel(OtherModel):
    """A graph that each step makes anew from ``norm_adj``; chance comes from a generator of the model's own."""

    coalesced = False

    def __init__(self, data, dtype):
        super().__init__(data, dtype)
        self.norm_adj = self.whole(dtype)
        self.draws = 0

    def whole(self, dtype) -> Tensor:
        matrix = coo(self.adjacency(), dtype)
        shuffled = torch.randperm(matrix._nnz(), generator=torch.Generator().manual_seed(1))
        matrix = torch.sparse_coo_tensor(matrix._indices()[:, shuffled], matrix._values()[shuffled], matrix.shape)
        return matrix.coalesce() if self.coalesced else matrix

    def random(self, size: int) -> Tensor:
        self.draws += 1
        return torch.rand(size, generator=torch.Generator().manual_seed(self.draws))

    def dropped(self, graph: Tensor) -> Tensor:
        raise NotImplementedError

    def all_embeddings(self):
        return self.propagate(self.dropped(self.norm_adj) if self.training else self.norm_adj, self.embedding)


class MaskThenScale(StepModel):
    """SELFCF: a mask of indices and values, the legacy constructor, and the matrix scaled afterwards."""

    def dropped(self, graph):
        mask = torch.floor(0.6 + self.random(graph._nnz())).bool()
        indices, values = graph._indices()[:, mask], graph._values()[mask]
        constructor = torch.sparse.FloatTensor if self.dtype == torch.float32 else torch.sparse.DoubleTensor
        return constructor(indices, values, graph.shape).to(graph.device) * (1.0 / 0.6)


class ScaleThenConstruct(StepModel):
    """RecBole's SparseDropout, here of a coalesced matrix."""

    coalesced = True

    def dropped(self, graph):
        mask = self.random(graph._values().size(0)) < 0.6
        return torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask] / 0.6, graph.shape)


class TransposedIndices(StepModel):
    """LightGCN-PyTorch: edges as rows, chosen and turned back."""

    coalesced = True

    def dropped(self, graph):
        mask = (self.random(len(graph.values())) + 0.6).int().bool()
        index = graph.indices().t()[mask]
        return torch.sparse_coo_tensor(index.t(), graph.values()[mask] / 0.6, graph.size())


class CoalescedAgain(ScaleThenConstruct):
    """The dropped-out copy is coalesced before it is used."""

    coalesced = False

    def dropped(self, graph):
        return super().dropped(graph).coalesce()


class Numbers(StepModel):
    """Edges chosen by their numbers in a random order."""

    def dropped(self, graph):
        chosen = self.random(graph._nnz()).argsort()[: graph._nnz() // 2]
        indices = graph._indices().index_select(1, chosen)
        return torch.sparse_coo_tensor(indices, graph._values()[chosen] * 2, graph.shape)


class ValueDropout(StepModel):
    """All edges with other values."""

    def dropped(self, graph):
        torch.manual_seed(self.draws)
        self.draws += 1
        return torch.sparse_coo_tensor(graph._indices(), F.dropout(graph._values(), 0.4), graph.shape)


class ValueDropoutCoalesced(ValueDropout):
    coalesced = True


class Twice(StepModel):
    """Edges dropped of what is left after a first dropout."""

    def dropped(self, graph):
        first = self.random(graph._nnz()) < 0.8
        some = torch.sparse_coo_tensor(graph._indices()[:, first], graph._values()[first], graph.shape)
        second = self.random(some._nnz()) < 0.8
        return torch.sparse_coo_tensor(some._indices()[:, second], some._values()[second], graph.shape)


class Rectangular(StepModel):
    """User-item edges, not square, and the transposed copy."""

    def whole(self, dtype):
        return coo(self.interactions, dtype)

    def all_embeddings(self):
        if not self.training:
            return self.embedding
        mask = self.random(self.norm_adj._nnz()) < 0.7
        indices, values = self.norm_adj._indices()[:, mask], self.norm_adj._values()[mask]
        graph = torch.sparse_coo_tensor(indices, values, self.norm_adj.shape)
        users, items = torch.split(self.embedding, [self.num_users, self.num_items])
        return torch.cat([users + torch.sparse.mm(graph, items), items + torch.sparse.mm(graph.t(), users)])


_CLASSES = MaskThenScale, ScaleThenConstruct, TransposedIndices, CoalescedAgain, Numbers
_CLASSES += ValueDropout, ValueDropoutCoalesced, Twice, Rectangular
MODELS = {model.__name__: model for model in _CLASSES}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_training_is_the_same(name, dtype):
    """Losses and gradients of six steps, each with a graph of its own, and the metrics after them."""
    data = dataset()
    torch.manual_seed(0)
    plain = MODELS[name](data, dtype)
    fast = copy.deepcopy(plain)
    acceleration = accelerate(fast, min_edges=0)
    expected, actual = train(plain, data), train(fast, data)
    assert_same_training(actual, expected, dtype)
    assert len(set(expected["losses"])) == len(expected["losses"])
    report = acceleration.report()
    made = {replaced.name: replaced for replaced in report.replaced}["made from norm_adj"]
    assert made.made >= 6 and made.products == 12 and not report.left_to_torch
    assert made.shape == tuple(fast.norm_adj.shape) and 0 < made.edges <= fast.norm_adj._nnz()
    shape = f"{made.shape[0]} x {made.shape[1]}, {made.edges} edges"
    assert f"made from norm_adj: sparse_coo {shape} in the last of {made.made}; 12 products" in str(report)
    with torch.no_grad():
        recalls = [Evaluator(data, (5, 10))(*model.eval()(), "test") for model in (fast, plain)]
    assert recalls[0] == pytest.approx(recalls[1], abs=1e-9 if dtype == torch.float64 else 0.02)
    acceleration.undo()
    assert type(fast.norm_adj) is Tensor and not acceleration.report().replaced


# ---------------------------------------------------------------------------------------------------------------------
# Matrices


class Holder(nn.Module):
    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix


def _matrix(order: str, dtype=torch.float64) -> Tensor:
    """Coalesced; sorted by column; or in no order with repeated edges."""
    generator = torch.Generator().manual_seed(3)
    dense = torch.rand(NODES, NODES, generator=generator, dtype=dtype)
    matrix = (dense * (dense < 0.3)).to_sparse()
    indices, values = matrix.indices(), matrix.values()
    if order == "sorted":
        return matrix
    if order == "by column":
        by_column = torch.argsort(indices[1], stable=True)
    else:
        by_column = torch.randint(len(values), (2 * len(values),), generator=generator)
    return torch.sparse_coo_tensor(indices[:, by_column], values[by_column], matrix.shape)


def _check_product(matrix: Tensor) -> None:
    """Product, gradient and second derivative, as of the dense matrix."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(matrix.shape[1], 3, generator=generator, dtype=torch.float64).to(matrix.dtype).requires_grad_()
    outcomes = []
    for factor in (matrix, matrix.to_dense()):
        out = factor @ x
        (gradient,) = torch.autograd.grad(out.cos().sum(), x, create_graph=True)
        outcomes.append((out, gradient, *torch.autograd.grad(gradient.square().sum(), x)))
    loose = {"rtol": 1e-3, "atol": 1e-3} if matrix.dtype == torch.float32 else {}
    for ours, theirs in zip(*outcomes):
        torch.testing.assert_close(ours, theirs, **loose)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("share", (0.0, 0.5, 1.0), ids=("empty mask", "half", "full mask"))
@pytest.mark.parametrize("order", ("sorted", "by column", "repeated"))
def test_masks(order, share, dtype):
    plain = _matrix(order, dtype)
    holder = Holder(plain)
    acceleration = accelerate(holder, min_edges=0)
    graph = holder.matrix
    mask = torch.rand(plain._nnz(), generator=torch.Generator().manual_seed(0)) < share
    made = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    expected = torch.sparse_coo_tensor(plain._indices()[:, mask], plain._values()[mask], plain.shape)
    assert isinstance(made, SparseMatrix) and torch.equal(made.to_dense(), expected.to_dense())
    _check_product(made)
    with torch.no_grad():
        torch.testing.assert_close(made @ torch.eye(NODES, dtype=dtype), expected.to_dense())
    assert _products(acceleration)["made from matrix"] == 2


def _products(acceleration) -> dict[str, int]:
    return {replaced.name: replaced.products for replaced in acceleration.report().replaced}


def _graph(order="repeated", min_edges=0):
    holder = Holder(_matrix(order))
    acceleration = accelerate(holder, min_edges=min_edges)
    return holder, holder.matrix, acceleration


CHOICES = {
    "[:, mask]": lambda i, mask: i[:, mask],
    "[..., mask]": lambda i, mask: i[..., mask],
    "[:, numbers]": lambda i, mask: i[:, mask.nonzero().flatten()],
    "[:, int32]": lambda i, mask: i[:, mask.nonzero().flatten().int()],
    "[:, negative]": lambda i, mask: i[:, mask.nonzero().flatten() - mask.numel()],
    "index_select": lambda i, mask: torch.index_select(i, 1, mask.nonzero().flatten()),
    "t": lambda i, mask: i.t()[mask].t(),
    "T, [mask, :]": lambda i, mask: i.T[mask, :].T.contiguous(),
    "transpose": lambda i, mask: torch.transpose(i, 0, 1)[mask].transpose(1, 0),
    "detach, clone": lambda i, mask: i.detach()[:, mask].clone().contiguous(),
    "to": lambda i, mask: i.to("cpu")[:, mask].long(),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_ways_to_choose(choice):
    holder, graph, acceleration = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    indices = CHOICES[choice](graph._indices(), mask)
    assert torch.equal(indices, holder.matrix.plain._indices()[:, mask])
    made = torch.sparse_coo_tensor(indices, graph._values()[mask], graph.shape)
    assert isinstance(made, SparseMatrix)
    _check_product(made)


def test_a_mask_after_numbers():
    _, graph, _ = _graph()
    numbers = torch.randperm(graph._nnz())[:100]
    mask = torch.rand(100) < 0.5
    made = torch.sparse_coo_tensor(graph._indices()[:, numbers][:, mask], graph._values()[numbers][mask], graph.shape)
    assert isinstance(made, SparseMatrix)
    _check_product(made)


def test_conversions_of_what_was_made():
    _, graph, acceleration = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    made = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    for derived in (made.t(), made.coalesce(), made.detach(), made.to(graph.device), made * 2, 3 * made, made / 0.5):
        assert isinstance(derived, SparseMatrix)
        _check_product(derived)
    assert isinstance(graph * 0.5, SparseMatrix), "the whole matrix, scaled"
    _check_product(graph * 0.5)


def test_a_reused_mask():
    """A model may fill one mask anew: the matrix keeps the edges that it was made with."""
    _, graph, _ = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    made = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    mask.logical_not_()
    _check_product(made)


CHANGES = {
    "values": lambda made, values: values.mul_(3),
    "values through data": lambda made, values: values.data.mul_(3),
    "the matrix": lambda made, values: made.mul_(3),
    "its indices": lambda made, values: made._indices()[0].copy_(made._indices()[0].flip(0)),
}


@pytest.mark.parametrize("used", (False, True), ids=("before use", "after use"))
@pytest.mark.parametrize("change", CHANGES)
def test_changes(change, used):
    _, graph, _ = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    values = graph._values()[mask]
    made = torch.sparse_coo_tensor(graph._indices()[:, mask], values, graph.shape)
    if used:
        _check_product(made)
    CHANGES[change](made, values)
    _check_product(made)


def test_the_whole_matrix_changes_its_edges():
    _, graph, _ = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    unused = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    for _ in range(2):
        made = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
        _check_product(made)
        graph._indices()[0].copy_(graph._indices()[0].flip(0))
    _check_product(made)
    _check_product(unused)


# ---------------------------------------------------------------------------------------------------------------------
# What is left to PyTorch


def _learned(graph, mask):
    return torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask].requires_grad_(), graph.shape)


def _flagged(graph, mask):
    return torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape, requires_grad=True)


def _changed(graph, mask):
    indices = graph._indices()[:, mask]
    indices[0] = indices[0].flip(0)
    return torch.sparse_coo_tensor(indices, graph._values()[mask], graph.shape)


def _repeated(graph, mask):
    twice = torch.cat([mask.nonzero().flatten()] * 2)
    return torch.sparse_coo_tensor(graph._indices()[:, twice], graph._values()[twice], graph.shape)


def _larger(graph, mask):
    return torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], (NODES, NODES + 1))


def _half(graph, mask):
    return torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask].half(), graph.shape)


LEFT = {
    "learned values": (_learned, "made from matrix: gradients of its values"),
    "requires_grad=True": (_flagged, "_sparse_mm: gradients of values, not coalesced"),
    "indices changed": (_changed, "made from matrix: indices changed in place"),
    "repeated edges": (_repeated, "made from matrix: an edge chosen twice"),
    "another shape": (_larger, "made from matrix: another shape"),
    "half precision": (_half, "made from matrix: its values are float16"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_has_a_reason(name):
    make, reason = LEFT[name]
    plain = _matrix("repeated")
    _, graph, acceleration = _graph()
    mask = torch.rand(plain._nnz()) < 0.5
    results = []
    for matrix in (plain, graph):
        made = make(matrix, mask)
        x = torch.ones(made.shape[1], 2, dtype=made.dtype)
        if made.requires_grad:
            results.append(torch.sparse.mm(made, x))
            results.append(torch.autograd.grad(results[-1].sum(), made)[0].to_dense())
        elif made.dtype != torch.float16:
            results.append(torch.sparse.mm(made, x))
    for ours, theirs in zip(results[len(results) // 2 :], results[: len(results) // 2], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert acceleration.report().left_to_torch.pop(reason) >= 1 and reason in str(acceleration.report())
    assert _products(acceleration) == {"matrix": 0}


def test_gradients_reach_learned_values():
    _, graph, _ = _graph()
    values = graph._values().clone().requires_grad_()
    made = torch.sparse_coo_tensor(graph._indices(), values, graph.shape)
    torch.sparse.mm(made, torch.ones(NODES, 2).double()).sum().backward()
    torch.testing.assert_close(values.grad, torch.full_like(values, 2.0))


def test_an_unrelated_pattern_is_not_seen():
    _, graph, acceleration = _graph()
    other = _matrix("by column")
    made = torch.sparse_coo_tensor(other._indices(), other._values(), graph.shape)
    joined = torch.cat([graph._indices(), graph._indices().flip(0)], 1)
    both = torch.sparse_coo_tensor(joined, torch.ones(joined.shape[1]).double(), graph.shape)
    assert type(made) is type(joined) is type(both) is Tensor
    assert not acceleration.report().left_to_torch and _products(acceleration) == {"matrix": 0}


def test_small_ones_stay_with_pytorch():
    """A graph that serves one step needs more edges to pay for itself: ten times ``min_edges``."""
    _, graph, acceleration = _graph("sorted", min_edges=10)
    assert graph._nnz() > 100
    few = torch.arange(99)
    made = torch.sparse_coo_tensor(graph._indices()[:, few], graph._values()[few], graph.shape)
    assert type(made) is Tensor
    assert acceleration.report().left_to_torch == {"made from matrix: fewer than 100 edges": 1}
    _, graph, acceleration = _graph("sorted", min_edges=graph._nnz() // 2)
    assert type(graph._indices()) is Tensor and type(graph * 2) is Tensor


def test_under_inference_mode():
    plain, (_, graph, _) = _matrix("repeated"), _graph()
    mask, x = torch.rand(plain._nnz()) < 0.5, torch.ones(NODES, 2).double()
    with torch.inference_mode():
        ours, theirs = (
            torch.sparse.mm(torch.sparse_coo_tensor(a._indices()[:, mask], a._values()[mask], a.shape), x)
            for a in (graph, plain)
        )
    torch.testing.assert_close(ours, theirs)


# ---------------------------------------------------------------------------------------------------------------------
# Indices are tensors like others


def test_indices_behave_as_before():
    _, graph, _ = _graph()
    indices, expected = graph._indices(), graph.plain._indices()
    assert isinstance(indices, Indices) and torch.equal(indices, expected)
    rows, columns = indices
    for value in (rows, columns, indices[0], indices[:, :3], indices + 1, indices.int(), torch.cat([indices, indices])):
        assert type(value) is Tensor
    assert (indices.numpy() == expected.numpy()).all() and indices.tolist() == expected.tolist()
    assert indices.shape == expected.shape and len(indices) == 2 and repr(indices) == repr(expected)
    for copied in (copy.deepcopy(indices), pickle.loads(pickle.dumps(indices))):
        assert type(copied) is Tensor and torch.equal(copied, expected)
    file = io.BytesIO()
    torch.save(indices, file)
    assert b"mde_fast" not in file.getvalue()
    degrees = torch.zeros(NODES).index_add_(0, indices[0], torch.ones(indices.shape[1]))
    assert torch.equal(degrees, torch.bincount(expected[0], minlength=NODES).float())
    mapped = torch.func.vmap(lambda x: x * graph._indices().sum())(torch.ones(2))
    assert torch.equal(mapped, torch.full((2,), float(expected.sum())))


def test_what_a_model_keeps_is_plain():
    holder, graph, _ = _graph()
    holder.edges = graph._indices()
    holder.both = [graph._indices()]
    holder.register_buffer("buffer", graph._indices(), persistent=False)
    assert type(holder.edges) is type(holder.both[0]) is type(holder.buffer) is Tensor
    holder.registered = nn.Buffer(graph._indices())
    assert "registered" in holder.state_dict() and type(holder.registered) is not Indices


def test_what_a_model_keeps_of_its_own_making_has_its_name():
    holder, graph, acceleration = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    holder.view = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    _check_product(holder.view)
    assert _products(acceleration) == {"matrix": 0, "view": 1}


def test_matrices_are_not_kept_alive():
    _, graph, _ = _graph()
    mask = torch.rand(graph._nnz()) < 0.5
    made = torch.sparse_coo_tensor(graph._indices()[:, mask], graph._values()[mask], graph.shape)
    _check_product(made)
    old = weakref.ref(made)
    del made
    gc.collect()
    assert old() is None


def test_compiled():
    data = dataset()
    torch.manual_seed(0)
    model = ScaleThenConstruct(data, torch.float64)
    twin = copy.deepcopy(model)
    accelerate(model, min_edges=0)
    torch._dynamo.reset()
    compiled = torch.compile(lambda: model.all_embeddings(), backend="aot_eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(), twin.all_embeddings())
