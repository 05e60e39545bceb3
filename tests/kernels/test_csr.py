"""CSRGraph: the sparse matrix under every operator."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from operands import GRAPHS, SYMMETRIC_GRAPHS, csr, dense, random

from mde_fast.acceleration.graphs import MatrixGraphs
from mde_fast.kernels import CSRGraph
from mde_fast.kernels import csr as csr_module
from mde_fast.kernels.csr import EDGES_PER_BLOCK, MOST_EDGES_IN_INT32, index_dtype

FOLDERS = sorted(path.parent.name for path in Path(csr_module.__file__).parent.glob("*/triton_kernels.py"))
SMALL_GRAPHS = {name: build for name, build in (GRAPHS | SYMMETRIC_GRAPHS).items() if not name.startswith("large")}


@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_transpose(name):
    graph = SMALL_GRAPHS[name]()
    transpose = graph.transpose()
    assert torch.equal(dense(transpose), dense(graph).T)
    assert transpose.columns.dtype == graph.columns.dtype
    assert transpose.shape == graph.shape[::-1]
    assert graph.transpose() is transpose, "the transpose is built once"


@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_transpose_order(name):
    graph = SMALL_GRAPHS[name]()
    order = graph.transpose_order().long()
    edges = list(zip(graph.columns[order].tolist(), graph.rows()[order].tolist()))
    assert edges == sorted(edges)


def test_a_symmetric_graph_is_its_own_transpose():
    graph = SYMMETRIC_GRAPHS["small"]()
    assert graph.transpose() is graph


@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_pieces_cover_every_edge_and_begin_with_the_longest(name):
    graph = SMALL_GRAPHS[name]()
    pieces, splits, num_slots = graph.pieces()
    edges = [(row, edge) for row, start, stop, _ in pieces.tolist() for edge in range(start, stop)]
    assert sorted(edges) == list(zip(graph.rows().tolist(), range(graph.num_edges)))
    order = [(-(-(stop - start) // EDGES_PER_BLOCK), -row, -start) for row, start, stop, _ in pieces.tolist()]
    assert order == sorted(order, reverse=True)
    starts = {slot: (row, start) for row, start, _, slot in pieces.tolist() if slot >= 0}
    assert sorted(starts) == list(range(num_slots))
    assert [starts[slot] for slot in range(num_slots)] == sorted(starts.values()), "partial sums in the edges' order"
    assert {row for row, _, _ in splits.tolist()} == {row for row, _ in starts.values()}
    assert all(starts[slot][0] == row for row, first, stop in splits.tolist() for slot in range(first, stop))


@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_edges_written_out(name):
    graph = SMALL_GRAPHS[name]()
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    matrix.index_put_((graph.rows().long(), graph.columns.long()), graph.edge_values(torch.float64), accumulate=True)
    assert torch.equal(matrix, dense(graph))
    assert torch.equal(graph.degrees().long(), torch.bincount(graph.rows().long(), minlength=graph.shape[0]))
    assert graph.edge_values().dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in SYMMETRIC_GRAPHS if not name.startswith("large")])
def test_normalised_values(name):
    graph = SYMMETRIC_GRAPHS[name]()
    degrees = graph.degrees().double()
    scale = graph.inverse_sqrt_degrees(torch.float64)
    assert torch.equal(scale > 0, degrees > 0)
    torch.testing.assert_close(scale.square() * degrees, (degrees > 0).double())
    expected = 1 / (degrees[graph.rows().long()] * degrees[graph.columns.long()]).sqrt()
    torch.testing.assert_close(graph.normalised_values(torch.float64), expected)


def test_from_scipy():
    matrix = scipy.sparse.random(20, 30, density=0.2, format="coo", random_state=np.random.default_rng(0))
    graph = CSRGraph.from_scipy(matrix)
    assert graph.shape == (20, 30) and graph.columns.dtype == torch.int32 and not graph.symmetric
    assert torch.equal(dense(graph), torch.from_numpy(matrix.toarray()))
    constant = CSRGraph.from_scipy(matrix, constant=0.25)
    assert constant.values is None
    assert torch.equal(dense(constant), torch.from_numpy((matrix.toarray() != 0) * 0.25))


def test_to_the_same_device_is_the_same_graph():
    graph = GRAPHS["wide"]()
    assert graph.to("cpu") is graph


def test_to_another_device():
    graph = GRAPHS["wide"]().to("meta")
    assert graph.device.type == "meta" and graph.values.device.type == "meta" and graph.num_edges == 30


@pytest.mark.parametrize(
    "edges, shape, dtype",
    (
        (MOST_EDGES_IN_INT32, (4, 2**31 - 1), torch.int32),
        (MOST_EDGES_IN_INT32 + 1, (4, 4), torch.int64),
        (0, (2**31, 4), torch.int64),
        (0, (4, 2**31), torch.int64),
    ),
)
def test_index_dtype(edges, shape, dtype):
    assert index_dtype(edges, shape) == dtype


def test_int32_is_refused_for_more_edges():
    rowptr, columns = (torch.empty(size, dtype=torch.int32, device="meta") for size in (5, MOST_EDGES_IN_INT32 + 1))
    CSRGraph(rowptr, columns[1:], (4, 4))
    CSRGraph(rowptr.long(), columns.long(), (4, 4))
    with pytest.raises(ValueError, match=f"int32 indices of {MOST_EDGES_IN_INT32 + 1} edges"):
        CSRGraph(rowptr, columns, (4, 4))


@pytest.mark.parametrize("layout", ("coo", "csr", "csc"))
def test_all_that_makes_graphs_chooses_the_type_alike(monkeypatch, layout):
    monkeypatch.setattr(csr_module, "MOST_EDGES_IN_INT32", 3)
    for edges, dtype in ((3, torch.int32), (4, torch.int64)):
        matrix = scipy.sparse.coo_matrix((np.ones(edges), (np.arange(edges), np.arange(edges))), (5, 5))
        coo = torch.sparse_coo_tensor(np.stack(matrix.coords), matrix.data, matrix.shape)
        tensor = {"coo": coo, "csr": coo.to_sparse_csr(), "csc": coo.to_sparse_csc()}[layout]
        made = (
            CSRGraph.from_edges(*matrix.coords, matrix.shape),
            CSRGraph.from_scipy(matrix.asformat(layout)),
            MatrixGraphs(tensor).current()[0].graph(False),
        )
        assert [(graph.rowptr.dtype, graph.columns.dtype) for graph in made] == [(dtype, dtype)] * 3


def test_no_kernel_leaves_int32_behind_the_last_edge():
    """What is added to the number of an edge below a row's end, for the places of a block and for the next one."""
    pytest.importorskip("triton")
    modules = {name: importlib.import_module(f"mde_fast.kernels.{name}.triton_kernels") for name in FOLDERS}
    added = {
        ("spmm", "row_sum_kernel"): (modules["spmm"].launch_sizes(width)["BLOCK_E"] for width in (1, 17, 64, 128, 999)),
        ("spmm", "edge_dot_kernel"): (modules["spmm"].launch_sizes(width)["BLOCK_E"] for width in (1, 17, 64, 128)),
        ("topk", "mask_seen_kernel"): (128,),
    }
    long = modules["edges"].row_sizes()
    for name in ("forward", "backward"):
        added["edges", f"edge_softmax_{name}_kernel"] = (modules["edges"].piece_sizes()["BLOCK_E"],)
        added["edges", f"long_rows_{name}_kernel"] = (long["SHARES"] * long["BLOCK_E"] + long["BLOCK_E"],)
    kernels = {
        (folder, name)
        for folder, module in modules.items()
        for name, kernel in vars(module).items()
        if "BLOCK_E" in getattr(kernel, "arg_names", ())
    }
    assert kernels == added.keys(), "kernels that go over edges"
    assert MOST_EDGES_IN_INT32 - 1 + max(max(steps) for steps in added.values()) < 2**31


def _arguments():
    return {
        "rowptr": torch.tensor([0, 1, 1, 3], dtype=torch.int32),
        "columns": torch.tensor([0, 3, 1], dtype=torch.int32),
        "shape": (3, 4),
    }


@pytest.mark.parametrize(
    "change, error, message",
    (
        ({"rowptr": torch.zeros(3, dtype=torch.int32)}, ValueError, "rowptr has shape"),
        ({"columns": torch.zeros(3, dtype=torch.int64)}, TypeError, "rowptr and columns"),
        ({"rowptr": torch.zeros(4)}, TypeError, "rowptr and columns"),
        ({"columns": torch.zeros(3, 1, dtype=torch.int32)}, ValueError, r"columns has shape \(3, 1\)"),
        ({"values": random(5)}, ValueError, "values"),
        ({"values": torch.ones(3, dtype=torch.int64)}, TypeError, "values are torch.int64"),
        ({"values": torch.ones(3, device="meta")}, ValueError, "rowptr is on cpu and values on meta"),
        ({"columns": torch.zeros(3, dtype=torch.int32, device="meta")}, ValueError, "and columns on meta"),
        ({"symmetric": True}, ValueError, "symmetric"),
        ({"rowptr": torch.tensor([1, 1, 1, 3], dtype=torch.int32)}, ValueError, "rowptr goes from 1 to 3"),
        ({"rowptr": torch.tensor([0, 1, 1, 2], dtype=torch.int32)}, ValueError, "from 0 to 2, expected 0 to 3"),
        ({"rowptr": torch.tensor([0, 2, 1, 3], dtype=torch.int32)}, ValueError, "rowptr descends at row 1"),
        ({"columns": torch.tensor([0, 4, 1], dtype=torch.int32)}, ValueError, "from 0 to 4, expected 0 to 3"),
        ({"columns": torch.tensor([0, -1, 1], dtype=torch.int32)}, ValueError, "columns range from -1 to 1"),
    ),
)
def test_errors(change, error, message):
    CSRGraph(**_arguments())
    with pytest.raises(error, match=message):
        CSRGraph(**(_arguments() | change))


@pytest.mark.parametrize("name", SMALL_GRAPHS)
def test_from_edges(name):
    """Edges in any order give the graph that they were taken from."""
    graph = SMALL_GRAPHS[name]()
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(0))
    values = None if graph.values is None else graph.values[order]
    made = CSRGraph.from_edges(graph.rows()[order], graph.columns[order], graph.shape, values, constant=graph.constant)
    assert made.num_edges == graph.num_edges, "repeated edges stay apart"
    torch.testing.assert_close(dense(made), dense(graph), rtol=0, atol=1e-15)
    places = list(zip(made.rows().tolist(), made.columns.tolist()))
    assert places == sorted(places) and made.columns.dtype == torch.int32
    assert torch.equal(dense(made.transpose()), dense(made).T)


def test_sorted_edges_keep_their_values_memory():
    values = random(3)
    graph = CSRGraph.from_edges(torch.tensor([0, 0, 2]), torch.tensor([0, 3, 1]), (3, 4), values)
    assert graph.values is values


@pytest.mark.parametrize(
    "rows, columns, values, message",
    (
        ([0, 3], [0, 1], None, "rows range from 0 to 3, expected 0 to 2"),
        ([0, -1], [0, 1], None, "rows range from -1"),
        ([0, 1], [0, 4], None, "columns range from 0 to 4"),
        ([0, 1], [0], None, r"rows \(2,\) and columns \(1,\)"),
        ([0, 1], [0, 1], [1.0], r"\(1,\) values for 2 edges"),
    ),
)
def test_edges_that_cannot_be_used(rows, columns, values, message):
    values = None if values is None else torch.tensor(values)
    with pytest.raises(ValueError, match=message):
        CSRGraph.from_edges(torch.tensor(rows), torch.tensor(columns), (3, 4), values)


def test_edges_from_arrays_and_lists():
    graph = CSRGraph.from_edges(np.array([1, 0]), [0, 1], (2, 2), np.array([1.0, 2.0]), symmetric=True)
    assert graph.columns.tolist() == [1, 0] and graph.values.tolist() == [2.0, 1.0] and graph.symmetric


@pytest.mark.parametrize("dtype", (torch.float32, torch.bool))
def test_edges_that_are_no_integers(dtype):
    ids = torch.tensor([0, 1])
    for rows, columns, name in ((ids.to(dtype), ids, "rows"), (ids, ids.to(dtype), "columns")):
        with pytest.raises(TypeError, match=f"{name} are {dtype}, expected integers"):
            CSRGraph.from_edges(rows, columns, (2, 2))


def test_helper_keeps_the_order_of_a_rows_edges():
    graph = csr([1, 0, 1], [2, 0, 1], (2, 3))
    assert graph.rowptr.tolist() == [0, 1, 3] and graph.columns.tolist() == [0, 2, 1]
