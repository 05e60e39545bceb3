"""Kernels read rows that lie more than 2**31 numbers behind the start of their table, where 32 bits do not reach.

The table's other pages are never touched, so they take no memory.
"""

import pytest
import torch
from operands import random
from support import IMPLEMENTATIONS, forced

from mde_fast.kernels import CSRGraph, bpr, cosine_losses, edge_dots, project_rows, spmm

WIDTH, LAST = 128, 8
ROWS = 2**31 // WIDTH + LAST  # the last eight are the far ones
TOLERANCES = {"rtol": 2e-3, "atol": 2e-3}  # of float16, which makes the table 4 GB and not 8

pytestmark = pytest.mark.skipif("triton" not in IMPLEMENTATIONS, reason="no Triton kernel can run here")


@pytest.fixture(scope="module")
def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def table(device):
    """(ROWS, WIDTH) float16, of which only the last rows have numbers."""
    whole = torch.empty(ROWS, WIDTH, dtype=torch.float16, device=device)
    whole[-LAST:] = random(LAST, WIDTH, dtype=torch.float32, seed=3).half()
    return whole


@pytest.fixture
def near(device):
    """(5, WIDTH) float16."""
    return random(5, WIDTH, dtype=torch.float32).half().to(device)


def far(*places, device):
    """Ids of rows among the last ones."""
    return torch.tensor(places, device=device) + ROWS - LAST


def graph(rows, device):
    """Six edges from three rows to columns among the last ``LAST`` of ``rows``."""
    row = torch.tensor([0, 0, 1, 2, 2, 2], device=device)
    column = torch.tensor([0, 5, 7, 1, 2, 6], device=device) + rows - LAST
    return CSRGraph.from_edges(row, column, (3, rows))


def compared(whole, of_the_last):
    """``whole`` as the kernels have it, and the reference of the last rows alone."""
    with torch.no_grad():
        with forced("triton"):
            actual = whole()
        with forced("reference"):
            expected = of_the_last()
    torch.testing.assert_close(actual, expected, **TOLERANCES)


def test_rows_of_neighbours(table, device):
    last = table[-LAST:]
    compared(lambda: spmm(graph(ROWS, device), table), lambda: spmm(graph(LAST, device), last))


def test_products_along_edges(table, near, device):
    last = table[-LAST:]
    compared(
        lambda: edge_dots(graph(ROWS, device), near[:3], table), lambda: edge_dots(graph(LAST, device), near[:3], last)
    )


def test_triples(table, near, device):
    users, places = torch.tensor([0, 4, 2], device=device), ((0, 7, 3), (6, 1, 2))

    def losses(items, offset):
        positives, negatives = (torch.tensor(ids, device=device) + offset for ids in places)
        return bpr(near[:, None], items[:, None], users, positives, negatives)

    compared(lambda: losses(table, ROWS - LAST), lambda: losses(table[-LAST:], 0))


def test_projected_items(table, device):
    weight = random(16, WIDTH, dtype=torch.float32, seed=5).half().to(device)
    compared(
        lambda: project_rows(table, far(0, 7, 3, device=device), weight),
        lambda: project_rows(table[-LAST:], torch.tensor([0, 7, 3], device=device), weight),
    )


def test_cosines(table, near, device):
    ids = torch.tensor([1, 0, 7, 4, 2], device=device)
    compared(
        lambda: cosine_losses(table[:, None], near[:, None], rows=ids + ROWS - LAST),
        lambda: cosine_losses(table[-LAST:, None], near[:, None], rows=ids),
    )
