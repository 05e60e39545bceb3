"""A sparse matrix of an accelerated module: products are ours, everything else is PyTorch's."""

import copy
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn

from mde_fast import accelerate
from mde_fast.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")

ROWS, COLUMNS, WIDTH = 7, 5, 3


class Holder(nn.Module):
    """A module with one attribute."""

    def __init__(self, matrix=None):
        super().__init__()
        self.matrix = matrix


def _accelerated(matrix):
    holder = Holder(matrix)
    return holder, accelerate(holder, min_edges=0)


def _uncoalesced(square=False, dtype=torch.float64):
    """Repeated edges, an explicit zero, empty rows and columns, in no order."""
    rows = torch.tensor([5, 0, 0, 3, 5, 1, 3, 5])
    columns = torch.tensor([2, 4, 1, 0, 2, 3, 0, 4])
    values = torch.tensor([0.5, -1.0, 2.0, 1.5, 0.25, 0.0, -0.5, 3.0], dtype=dtype)
    return torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (ROWS, ROWS if square else COLUMNS))


def _symmetric():
    upper = torch.triu(torch.arange(36.0, dtype=torch.float64).reshape(6, 6) % 5)
    return (upper + upper.T).to_sparse()


LAYOUTS = {
    "COO": _uncoalesced,
    "coalesced COO": lambda: _uncoalesced().coalesce(),
    "CSR": lambda: _uncoalesced().coalesce().to_sparse_csr(),
    "CSC": lambda: _uncoalesced().coalesce().to_sparse_csc(),
    "square": lambda: _uncoalesced(square=True),
    "symmetric": _symmetric,
    "float32": lambda: _uncoalesced(dtype=torch.float32),
    "no edges": lambda: torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), [], (4, 3), dtype=torch.float64),
}

PRODUCTS = {
    "torch.sparse.mm": lambda a, x, y: torch.sparse.mm(a, x),
    "torch.mm": lambda a, x, y: torch.mm(a, x),
    "torch.spmm": lambda a, x, y: torch.spmm(a, x),
    "torch.matmul": lambda a, x, y: torch.matmul(a, x),
    "@": lambda a, x, y: a @ x,
    "method": lambda a, x, y: a.mm(x),
    "torch.sparse.addmm": lambda a, x, y: torch.sparse.addmm(y, a, x, beta=0.5, alpha=2.0),
    "torch.addmm": lambda a, x, y: torch.addmm(y, a, x),
    "torch.mv": lambda a, x, y: torch.mv(a, x[:, 0]),
    "a strided matrix": lambda a, x, y: a @ torch.cat([x, x]).T.contiguous().T[: len(x)],
}


def _outcome(matrix, operation, seed=0):
    """Result, gradients of x and y, and second derivatives by x, of an operation on a matrix."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.randn(size, WIDTH, generator=generator, dtype=torch.float64).to(matrix.dtype).requires_grad_()
        for size in (matrix.shape[1], matrix.shape[0])
    )
    out = operation(matrix, x, y)
    gradients = torch.autograd.grad(out.cos().sum(), (x, y), create_graph=True, allow_unused=True)
    second = torch.autograd.grad(gradients[0].square().sum(), x)
    return [out, *gradients, *second]


def _assert_same(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            loose = {"rtol": 1e-3, "atol": 1e-3} if theirs.dtype == torch.float32 else {}  # second derivatives
            torch.testing.assert_close(ours, theirs, **loose)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_products(layout, product):
    """Values, gradients and gradients of gradients; expected from the dense matrix, which PyTorch has all of."""
    matrix = LAYOUTS[layout]()
    expected = _outcome(matrix.to_dense(), PRODUCTS[product])
    holder, acceleration = _accelerated(matrix)
    _assert_same(_outcome(holder.matrix, PRODUCTS[product]), expected)
    report = acceleration.report()
    assert report.replaced[0].products == 1 and not report.left_to_torch


@pytest.mark.parametrize("layout, symmetric", (("symmetric", True), ("square", False), ("coalesced COO", False)))
def test_symmetric_matrices_keep_no_transpose(layout, symmetric):
    holder, acceleration = _accelerated(LAYOUTS[layout]())
    assert acceleration.report().replaced[0].symmetric is None
    _outcome(holder.matrix, PRODUCTS["@"])
    assert acceleration.report().replaced[0].symmetric is symmetric
    pair = holder.matrix.graphs.pair
    assert (pair.graph(True) is pair.graph(False)) is symmetric


def test_values_of_a_symmetric_pattern_that_differ():
    matrix = _symmetric().coalesce()
    matrix.values()[1] += 1
    holder, acceleration = _accelerated(matrix)
    _assert_same(_outcome(holder.matrix, PRODUCTS["@"]), _outcome(matrix.to_dense(), PRODUCTS["@"]))
    assert acceleration.report().replaced[0].symmetric is False


# ---------------------------------------------------------------------------------------------------------------------
# Changes


def _scale_in_place(matrix, source):
    matrix.mul_(3)


def _through_values(matrix, source):
    matrix._values().mul_(3) if matrix.layout == torch.sparse_coo else matrix.values().mul_(3)


def _through_data(matrix, source):
    values = matrix._values() if matrix.layout == torch.sparse_coo else matrix.values()
    values.data[2] = 7


def _through_the_source(matrix, source):
    source.mul_(3)


def _through_indices(matrix, source):
    indices = matrix._indices() if matrix.layout == torch.sparse_coo else matrix.col_indices()
    indices[..., 0] = 0


CHANGES = (_scale_in_place, _through_values, _through_data, _through_the_source, _through_indices)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("layout", ("COO", "CSR"))
def test_changes_in_place_are_seen(layout, change):
    source = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    if layout == "COO":
        matrix = torch.sparse_coo_tensor(torch.tensor([[2, 0, 1, 0], [1, 1, 2, 3]]), source, (3, 4))
    else:
        matrix = torch.sparse_csr_tensor(torch.tensor([0, 2, 3, 4]), torch.tensor([1, 3, 2, 1]), source, (3, 4))
    holder, _ = _accelerated(matrix)
    before = _outcome(holder.matrix, PRODUCTS["@"])
    change(holder.matrix, source)
    after = _outcome(holder.matrix, PRODUCTS["@"])
    _assert_same(after, _outcome(matrix.to_dense(), PRODUCTS["@"]))
    assert not torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])


def test_a_change_between_product_and_backward_is_refused():
    """As PyTorch refuses it."""
    holder, _ = _accelerated(_symmetric())
    x = torch.ones(6, 2, dtype=torch.float64, requires_grad=True)
    out = holder.matrix @ x
    holder.matrix.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_a_change_in_place_returns_the_accelerated_matrix():
    holder, acceleration = _accelerated(_symmetric())
    matrix = holder.matrix
    holder.matrix *= 2
    assert holder.matrix is matrix
    _assert_same(_outcome(matrix, PRODUCTS["@"]), _outcome(_symmetric().to_dense() * 2, PRODUCTS["@"]))


# ---------------------------------------------------------------------------------------------------------------------
# Everything else


DERIVED = {
    "t()": lambda a: a.t(),
    "T": lambda a: a.T,
    "transpose": lambda a: a.transpose(0, 1),
    "transpose back": lambda a: a.transpose(-1, 0).t(),
    "coalesce": lambda a: a.coalesce() if a.layout == torch.sparse_coo else a,
    "detach": lambda a: a.detach(),
    "clone": lambda a: a.clone(),
    "to the same": lambda a: a.to("cpu", torch.float64),
    "to float32": lambda a: a.float(),
    "to CSR": lambda a: a.to_sparse_csr(),
    "deep copy": lambda a: a if a.layout != torch.sparse_coo and type(a) is torch.Tensor else copy.deepcopy(a),
}


@pytest.mark.parametrize("used_before", (False, True), ids=("fresh", "used before"))
@pytest.mark.parametrize("derive", DERIVED)
@pytest.mark.parametrize("layout", ("COO", "coalesced COO", "CSR", "CSC", "symmetric"))
def test_what_is_made_of_it_is_accelerated(layout, derive, used_before):
    matrix = LAYOUTS[layout]()
    if derive == "T" and matrix.layout != torch.sparse_coo:
        pytest.skip("PyTorch has no T of compressed matrices")
    expected = DERIVED[derive](matrix)
    holder, acceleration = _accelerated(matrix)
    if used_before:
        _outcome(holder.matrix, PRODUCTS["@"])
    derived = DERIVED[derive](holder.matrix)
    assert derived.layout == expected.layout and derived.dtype == expected.dtype and derived.shape == expected.shape
    before = acceleration.report().replaced[0].products
    _assert_same(_outcome(derived, PRODUCTS["@"]), _outcome(expected.to_dense(), PRODUCTS["@"]))
    assert acceleration.report().replaced[0].products == before + 1
    if derived is not holder.matrix:
        with torch.no_grad():
            derived.values().mul_(2) if derived.layout != torch.sparse_coo else derived._values().mul_(2)
        _assert_same(_outcome(derived, PRODUCTS["@"]), _outcome(derived.to_dense(), PRODUCTS["@"]))
        _assert_same(_outcome(holder.matrix, PRODUCTS["@"]), _outcome(holder.matrix.to_dense(), PRODUCTS["@"]))


def test_a_transpose_taken_every_step_is_not_sorted_every_step():
    holder, _ = _accelerated(_uncoalesced())
    _outcome(holder.matrix, PRODUCTS["@"])
    pair = holder.matrix.graphs.pair
    assert holder.matrix.t().graphs.current() == (pair, True)
    assert holder.matrix.t().t().graphs.current() == (pair, False)


def test_looks_like_the_matrix_it_was_made_from():
    matrix = _uncoalesced()
    holder, acceleration = _accelerated(matrix)
    ours = holder.matrix
    assert isinstance(ours, torch.Tensor) and ours.is_sparse and ours.layout == torch.sparse_coo
    assert ours.shape == (ROWS, COLUMNS) and ours.dtype == torch.float64 and ours.device.type == "cpu"
    assert not ours.is_coalesced() and ours._nnz() == 8 and repr(ours) == repr(matrix)
    assert torch.equal(ours._indices(), matrix._indices()) and type(ours._values()) is torch.Tensor
    assert torch.equal(ours.coalesce().values(), matrix.coalesce().values())
    assert not acceleration.report().left_to_torch, "to look is not to compute"
    with pytest.raises(RuntimeError, match="uncoalesced"):
        ours.values()


def test_other_operations_are_pytorchs_and_counted():
    matrix = _uncoalesced(square=True)
    holder, acceleration = _accelerated(matrix)
    ours = holder.matrix
    for operation in (
        lambda a: 0.1 * a + 0.9 * a,
        lambda a: torch.sparse.sum(a, dim=1),
        lambda a: torch.cat([a, a]),
        lambda a: torch.sparse.mm(a, a),
        lambda a: torch.ones(2, ROWS, dtype=torch.float64) @ a,
        lambda a: torch.mm(input=a, mat2=torch.ones(ROWS, 2, dtype=torch.float64)),
    ):
        expected, actual = operation(matrix), operation(ours)
        assert type(actual) is torch.Tensor and actual.layout == expected.layout
        torch.testing.assert_close(actual.to_dense(), expected.to_dense())
    assert acceleration.report().left_to_torch == {
        "add": 1,
        "_sparse_sum": 1,
        "cat": 1,
        "_sparse_mm: sparse @ sparse": 1,
        "matmul: dense @ sparse": 1,
        "mm: unusual arguments": 1,
    }
    assert acceleration.report().replaced[0].products == 0


@pytest.mark.parametrize(
    "x",
    (torch.ones(4, 2, dtype=torch.float64), torch.ones(COLUMNS, 2), torch.ones(COLUMNS, 2, dtype=torch.int64)),
    ids=("another size", "another type", "integers"),
)
def test_errors_are_pytorchs(x):
    matrix = _uncoalesced()
    holder, _ = _accelerated(matrix)
    with pytest.raises(RuntimeError) as theirs:
        torch.sparse.mm(matrix, x)
    with pytest.raises(RuntimeError) as ours:
        torch.sparse.mm(holder.matrix, x)
    assert str(ours.value) == str(theirs.value)


def test_autocast_is_left_to_pytorch():
    holder, acceleration = _accelerated(_uncoalesced(dtype=torch.float32))
    x = torch.ones(COLUMNS, 2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = torch.sparse.mm(holder.matrix.plain, x)
        actual = torch.sparse.mm(holder.matrix, x)
    assert actual.dtype == expected.dtype and torch.equal(actual, expected)
    assert acceleration.report().left_to_torch == {"_sparse_mm: autocast": 1}


@pytest.mark.parametrize("layout", ("COO", "coalesced COO", "CSR", "symmetric"))
def test_gradients_of_values(layout):
    """A matrix that learns: its own gradient, and one that flows on into what its values were made of."""
    source = LAYOUTS[layout]()
    x = torch.linspace(-1, 1, source.shape[1] * 2, dtype=torch.float64).reshape(-1, 2)
    results = []
    for fast in (False, True):
        leaf = source.clone().requires_grad_()
        holder = Holder(leaf)
        acceleration = accelerate(holder, min_edges=0) if fast else None
        out = (torch.sparse.mm(holder.matrix, x).cos() * torch.arange(source.shape[0])[:, None]).sum()
        out.backward()
        results.append(holder.matrix.grad.to_dense())
    torch.testing.assert_close(results[1], results[0] * (source.to_dense() != 0) if layout == "CSR" else results[0])
    report = acceleration.report()
    supported = layout in ("coalesced COO", "CSR", "symmetric")
    assert report.replaced[0].products == int(supported) and bool(report.left_to_torch) is not supported


def test_gradients_of_what_the_values_were_made_of():
    indices = _symmetric().coalesce().indices()
    gradients = []
    for fast in (False, True):
        weights = torch.linspace(1, 2, indices.shape[1], dtype=torch.float64, requires_grad=True)
        holder = Holder()
        acceleration = accelerate(holder, min_edges=0) if fast else None
        holder.matrix = torch.sparse_coo_tensor(indices, weights.square(), (6, 6)).coalesce()
        x = torch.ones(6, 2, dtype=torch.float64, requires_grad=True)
        (holder.matrix @ (holder.matrix @ x)).cos().sum().backward()
        gradients.append((weights.grad, x.grad))
    _assert_same(*gradients)
    assert acceleration.report().replaced[0].products == 2


# ---------------------------------------------------------------------------------------------------------------------
# Where matrices are found


def test_where_matrices_are_found():
    matrix = _symmetric()
    holder = Holder(matrix)
    holder.register_buffer("buffer", matrix.to_sparse_csr())
    holder.same = matrix
    holder.nested = [(matrix.clone(), "text"), {"key": [matrix.clone()]}]
    holder.child = Holder(matrix.clone())
    holder.dense = torch.ones(2, 2)
    acceleration = accelerate(holder, min_edges=0)
    assert {replaced.name for replaced in acceleration.report().replaced} == {
        "buffer",
        "matrix",
        "same",
        "nested[0][0]",
        "nested[1]['key'][0]",
        "child.matrix",
    }
    assert holder.same is holder.matrix, "one matrix stays one"
    assert type(holder.dense) is torch.Tensor


def test_what_is_assigned_or_put_into_a_container_later():
    holder = Holder([])
    holder.table = {}
    acceleration = accelerate(holder, min_edges=0)
    holder.matrix.append(_symmetric())
    holder.table["first"] = [_symmetric()]
    holder.other = (_symmetric(), 1)
    holder.register_buffer("buffer", _symmetric())
    holder.fresh = []
    holder.fresh.append(_symmetric())
    x = torch.ones(6, 2, dtype=torch.float64)
    for matrix in (holder.matrix[0], holder.table["first"][0], holder.other[0], holder.buffer, holder.fresh[0]):
        matrix @ x
    products = {replaced.name: replaced.products for replaced in acceleration.report().replaced}
    assert products == {"matrix[0]": 1, "table['first'][0]": 1, "other[0]": 1, "buffer": 1, "fresh[0]": 1}


def test_attributes_behave_as_before():
    holder = Holder([1])
    accelerate(holder)
    holder.matrix = "text"
    assert holder.matrix == "text"
    del holder.matrix
    assert not hasattr(holder, "matrix")
    holder.matrix = nn.Parameter(torch.ones(2))
    assert dict(holder.named_parameters()).keys() == {"matrix"}
    with pytest.raises(AttributeError, match="missing"):
        _ = holder.missing


@pytest.mark.parametrize(
    "matrix, reason",
    (
        (lambda: _symmetric().to(torch.float16), "values are float16"),
        (lambda: torch.ones(2, 3, 4).to_sparse(), "not a matrix"),
        (lambda: torch.ones(2, 3, 4).to_sparse(2), "not a matrix"),
        (lambda: torch.ones(4, 4).to_sparse_bsr((2, 2)), "layout is sparse_bsr"),
    ),
    ids=("float16", "3-d", "hybrid", "BSR"),
)
def test_what_is_left_is_reported(matrix, reason, caplog):
    matrix = matrix()
    holder = Holder(matrix)
    acceleration = accelerate(holder)
    report = acceleration.report()
    assert holder.matrix is matrix and reason in report.left["matrix"] and reason in str(report)
    assert "no sparse matrix or layer" in caplog.text


def test_replaced_matrices_are_not_kept_alive():
    """A graph for every epoch must not fill the memory."""
    holder, _ = _accelerated(_symmetric())
    _outcome(holder.matrix, PRODUCTS["@"])
    old = weakref.ref(holder.matrix.plain)
    holder.matrix = _symmetric()
    gc.collect()
    assert old() is None


def test_measured_gains_are_reported():
    holder, acceleration = _accelerated(_symmetric())
    report = acceleration.measure(width=4, seconds=0.01)
    (replaced,) = report.replaced
    assert replaced.gain == pytest.approx(replaced.torch_ms / replaced.ours_ms) and replaced.ours_ms > 0
    assert f"{replaced.gain:.1f}x" in str(report) and "matrix: sparse_coo 6 x 6, " in str(report)
    assert replaced.products == 0, "measuring does not count as use"


@pytest.mark.parametrize("model", (torch.ones(2), "model", None))
def test_not_a_module(model):
    with pytest.raises(InputError, match="needs a torch.nn.Module"):
        accelerate(model)


def test_twice():
    holder, acceleration = _accelerated(_symmetric())
    with pytest.raises(InputError, match=r"accelerated already; undo\(\)"):
        accelerate(holder)
    acceleration.undo()
    accelerate(holder).undo()


def test_as_the_reference(monkeypatch):
    monkeypatch.setenv("MDE_FAST_IMPL", "reference")
    holder, _ = _accelerated(_uncoalesced())
    _assert_same(_outcome(holder.matrix, PRODUCTS["@"]), _outcome(_uncoalesced().to_dense(), PRODUCTS["@"]))


def test_no_warning_of_ours():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        holder, _ = _accelerated(_uncoalesced().coalesce())
        _outcome(holder.matrix, PRODUCTS["@"])
