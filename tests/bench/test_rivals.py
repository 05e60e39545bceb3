"""Every rival computes what the reference does, forward and backward: it would be no rival else."""

import pytest
import torch

from bench import rivals
from bench.capture import AsCalled
from bench.compiled import MODES, OWN_GRAPHS, TUNED, compiled_variants
from bench.graphs import synthetic_graph
from bench.rivals import propagate_rivals, spmm_rivals
from mde_fast.kernels import CSRGraph
from mde_fast.kernels.propagate.reference import propagate_reference
from mde_fast.kernels.spmm.reference import spmm_reference

CPU = torch.device("cpu")
GRAPHS = {"symmetric": lambda: synthetic_graph(400), "not symmetric": lambda: not_symmetric()}


def not_symmetric() -> CSRGraph:
    """With values of its own, repeated edges, and rows and columns without any."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randint(1, 30, (2, 90), generator=generator)
    return CSRGraph.from_edges(rows, columns, (31, 31), torch.rand(90, generator=generator))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Products that are measured on a GPU alone."""
    choose = rivals._products
    monkeypatch.setattr(rivals, "_products", lambda device: choose(torch.device("cuda")))


def results(run, x):
    leaf = x.clone().requires_grad_()
    out = run(leaf)
    (gradient,) = torch.autograd.grad(out, leaf, torch.arange(out.numel()).view_as(out) / out.numel())
    return out.detach(), gradient


def test_what_is_measured_where(as_on_a_gpu):
    pytest.importorskip("torch_geometric")
    graph = GRAPHS["symmetric"]()
    more = {"torch CSR, int64", "torch CSR, both directions", "PyG's EdgeIndex"}
    assert spmm_rivals(graph, 4, compiled=()).keys() == rivals.PRODUCTS.keys() | more


@pytest.mark.parametrize("name", GRAPHS)
def test_products(as_on_a_gpu, name):
    graph = GRAPHS[name]()
    x = torch.randn(graph.shape[0], 5, generator=torch.Generator().manual_seed(0))
    expected = results(lambda x: spmm_reference(graph, x, None, x), x)
    for rival, run in spmm_rivals(graph, 5, compiled=()).items():
        for ours, theirs in zip(expected, results(run, x)):
            torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5, msg=lambda text: f"{rival}: {text}")


def test_propagate(as_on_a_gpu):
    graph = GRAPHS["symmetric"]()
    x = torch.randn(graph.shape[0], 5, generator=torch.Generator().manual_seed(0))
    expected = results(lambda x: propagate_reference(graph, x, 2, "mean"), x)
    for rival, run in propagate_rivals(graph, 2, 5, compiled=()).items():
        for ours, theirs in zip(expected, results(run, x)):
            torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5, msg=lambda text: f"{rival}: {text}")


def test_indices_are_of_the_type_that_is_named():
    graph = GRAPHS["symmetric"]()
    for index in (torch.int32, torch.int64):
        matrix = rivals._csr_matrix(graph, graph.edge_values(), index)
        assert matrix.crow_indices().dtype == matrix.col_indices().dtype == index


def test_modes_of_torch_compile(monkeypatch):
    """On a GPU two, of which one brings its own graphs and is called; on a CPU the default."""
    made = []

    def compile(function, **options):
        made.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "reset", lambda: made.append("reset"))
    assert compiled_variants("it", abs, CPU, MODES).keys() == {"it"} and made == [{}]
    made.clear()
    variants = compiled_variants("it", abs, torch.device("cuda"), MODES)
    assert made == ["reset", *({"mode": mode, "dynamic": False} for mode in (TUNED, OWN_GRAPHS))]
    assert {name: isinstance(run, AsCalled) for name, run in variants.items()} == {
        f"it, {TUNED}": False,
        f"it, {OWN_GRAPHS}": True,
    }
    assert all(run(-2) == 2 for run in variants.values())
    assert compiled_variants("it", abs, CPU, ()) == {}
