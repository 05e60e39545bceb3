"""CSRGraph: the sparse matrix under every operator."""

import numpy as np
import pytest
import scipy.sparse
import torch
from support import GRAPHS, SYMMETRIC_GRAPHS, csr, dense, random

from mde_fast.kernels import CSRGraph

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
    "change, error, message",
    (
        ({"rowptr": torch.zeros(3, dtype=torch.int32)}, ValueError, "rowptr has shape"),
        ({"columns": torch.zeros(3, dtype=torch.int64)}, TypeError, "rowptr and columns"),
        ({"rowptr": torch.zeros(4)}, TypeError, "rowptr and columns"),
        ({"values": random(5)}, ValueError, "values"),
        ({"symmetric": True}, ValueError, "symmetric"),
    ),
)
def test_errors(change, error, message):
    arguments = {
        "rowptr": torch.tensor([0, 1, 1, 3], dtype=torch.int32),
        "columns": torch.tensor([0, 3, 1], dtype=torch.int32),
        "shape": (3, 4),
    }
    CSRGraph(**arguments)
    with pytest.raises(error, match=message):
        CSRGraph(**(arguments | change))


def test_helper_keeps_the_order_of_a_rows_edges():
    graph = csr([1, 0, 1], [2, 0, 1], (2, 3))
    assert graph.rowptr.tolist() == [0, 1, 3] and graph.columns.tolist() == [0, 2, 1]
