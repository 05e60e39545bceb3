"""The item-item graphs of equation 4: items with the most similar content."""

from __future__ import annotations

import logging
import time
import warnings

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ..kernels import CSRGraph

logger = logging.getLogger("mde_fast.graphs")

ROWS_PER_BLOCK = 256
COSINES_PER_BLOCK = 2**24
CANDIDATES = 64  # rows looked at again in float32 before a whole row is
SPARE_FLOPS = 4e11  # below this a float32 search takes seconds and needs no help


def nearest_neighbours(features: np.ndarray, k: int) -> np.ndarray:
    """Each item's k items with the largest cosine, the item itself first (paper, section II-B; self as in DRAGON).

    Exact in float32: where the processor multiplies bfloat16 faster, that product only proposes candidates, with a
    margin that its rounding cannot cross, and float32 decides. Equal cosines are ranked by ascending item. An item
    whose features are all zero resembles nothing and gets itself k times.

    Args:
        features: (I, F), any floating type.
        k: 1 or more, at most I are used.

    Returns:
        (I, min(k, I)) int32.
    """
    unit = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), dim=1)
    num_items, width = unit.shape
    k = min(k, num_items)
    worthwhile = 2.0 * num_items**2 * width > SPARE_FLOPS and k < CANDIDATES < num_items
    search = _proposed_search if worthwhile and _bfloat16_is_faster(width) else _direct_search
    neighbours = search(unit, k)
    blank = ~unit.any(dim=1)
    neighbours[blank] = torch.nonzero(blank)
    return neighbours.to(torch.int32).numpy()


@torch.no_grad()
def nearest_rows(unit: Tensor, k: int) -> Tensor:
    """(I, min(k, I)) int64: for rows of length 1, (I, F), what :func:`nearest_neighbours` finds, on their device."""
    return _direct_search(unit, min(k, len(unit)))


def _direct_search(unit: Tensor, k: int) -> Tensor:
    found = torch.empty(unit.shape[0], k, dtype=torch.int64, device=unit.device)
    for rows in _row_blocks(torch.arange(unit.shape[0], device=unit.device), unit):
        found[rows] = _rank(unit[rows] @ unit.T, rows, k)
    return found


def _row_blocks(rows: Tensor, unit: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(1, min(ROWS_PER_BLOCK, COSINES_PER_BLOCK // unit.shape[0])))


def _rank(cosines: Tensor, rows: Tensor, k: int) -> Tensor:
    """Columns of the k largest cosines of each row, the row's own item first, ties by ascending column."""
    cosines[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    values, columns = torch.topk(cosines, min(k + 1, cosines.shape[1]), dim=1)
    tied = torch.nonzero((values[:, 1:] == values[:, :-1]).any(1)).flatten()
    if len(tied):
        columns[tied] = torch.sort(cosines[tied], dim=1, descending=True, stable=True)[1][:, : columns.shape[1]]
    return columns[:, :k]


def _proposed_search(unit: Tensor, k: int) -> Tensor:
    rounded = unit.bfloat16()
    # <a, b> - <a', b'> = <a - a', b> + <a', b - b'>: two residual norms bound it, and bfloat16 rounds the result once.
    residual = float(torch.linalg.vector_norm(unit - rounded.float(), dim=1).max())
    error = residual * 2.01 + 2.0**-8 * 0.51 + unit.shape[1] * 2.0**-24
    found = torch.empty(unit.shape[0], k, dtype=torch.int64)
    undecided = []
    for rows in _row_blocks(torch.arange(unit.shape[0]), unit):
        proposal, candidates = torch.topk(rounded[rows] @ rounded.T, CANDIDATES, dim=1)
        near = proposal.float() >= proposal[:, k - 1 : k].float() - 2 * error
        decided = ~near[:, -1]
        undecided.append(rows[~decided])
        found[rows[decided]] = _decide(unit, rows[decided], candidates[decided], near[decided], k)
    for rows in _row_blocks(torch.cat(undecided), unit):
        found[rows] = _rank(unit[rows] @ unit.T, rows, k)
    logger.debug("%d of %d items needed a whole float32 row", sum(map(len, undecided)), unit.shape[0])
    return found


def _decide(unit: Tensor, rows: Tensor, candidates: Tensor, near: Tensor, k: int) -> Tensor:
    """The k best in float32 among the candidates (rows, CANDIDATES) that are near enough to matter."""
    candidates, order = candidates.sort(dim=1)
    near = near.gather(1, order)
    rowptr = torch.cat([torch.zeros(1, dtype=torch.int64), near.sum(1).cumsum(0)])
    columns = candidates[near]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        shape = (len(rows), unit.shape[0])
        pairs = torch.sparse_csr_tensor(rowptr, columns, torch.zeros(len(columns)), shape, check_invariants=False)
    cosines = torch.full(near.shape, -torch.inf)
    cosines[near] = torch.sparse.sampled_addmm(pairs, unit[rows], unit.T, beta=0.0).values()
    cosines[candidates == rows[:, None]] = torch.inf
    best = torch.sort(cosines, dim=1, descending=True, stable=True)[1][:, :k]
    return candidates.gather(1, best)


def _bfloat16_is_faster(width: int) -> bool:
    """Measured: processors without bfloat16 arithmetic emulate it many times slower."""

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(128, width, dtype=dtype), torch.ones(width, 2048, dtype=dtype)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            torch.mm(a, b)
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) < 0.6 * seconds(torch.float32)


def stack_item_graphs(neighbours: list[np.ndarray]) -> CSRGraph:
    """One (I * M, I * M) graph of every modality's own, row ``i * M + m`` being modality m of item i; values 1 / k.

    So stacked, one product over embeddings laid out as (I, M, D) convolves each modality by its own graph.
    """
    num_modalities, (num_items, k) = len(neighbours), neighbours[0].shape
    columns = np.stack(neighbours, axis=1).astype(np.int64) * num_modalities + np.arange(num_modalities)[:, None]
    rowptr = np.arange(0, columns.size + 1, k)
    size = num_items * num_modalities
    ones = np.ones(columns.size, dtype=np.float32)
    return CSRGraph.from_scipy(scipy.sparse.csr_matrix((ones, columns.ravel(), rowptr), (size, size)), constant=1 / k)


def stack_cosine_graphs(features: list[np.ndarray], neighbours: list[np.ndarray], *, strongest: bool) -> CSRGraph:
    """The same with the cosines c_ij of an item and its neighbours as values, divided by the roots of both items' sums.

    Values are c_ij / sqrt(d_i d_j) where d_i is the sum of row i (LATTICE, MGCN, SMORE); an item whose sum is not above
    0 gets and gives nothing.

    Args:
        features: (I, F_m) of each modality.
        neighbours: (I, k_m) of each, from :func:`nearest_neighbours`.
        strongest: add a graph, as if of a modality more, that has the edges of all of them, an edge's largest value.
    """
    num_items = len(neighbours[0])
    graphs = [_cosine_edges(matrix, near) for matrix, near in zip(features, neighbours, strict=True)]
    if strongest:
        rows, columns, values = (torch.cat(parts) for parts in zip(*graphs))
        places, edge = torch.unique(rows * num_items + columns, return_inverse=True)
        largest = torch.full(places.shape, -torch.inf).scatter_reduce(0, edge, values, "amax")
        graphs.append((places // num_items, places % num_items, largest))
    count = len(graphs)
    rows = torch.cat([part * count + number for number, (part, _, _) in enumerate(graphs)])
    columns = torch.cat([part * count + number for number, (_, part, _) in enumerate(graphs)])
    values = torch.cat([part for _, _, part in graphs])
    return CSRGraph.from_edges(rows, columns, (num_items * count, num_items * count), values)


def _cosine_edges(features: np.ndarray, neighbours: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, columns and values (I * k,) of one modality's graph."""
    unit = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), dim=1)
    places = torch.from_numpy(neighbours.astype(np.int64))
    cosines = torch.stack([(unit * unit[column]).sum(1) for column in places.T], dim=1).double()
    sums = cosines.sum(1)
    scale = torch.where(sums > 0, sums, torch.inf).rsqrt()
    values = (scale[:, None] * cosines * scale[places]).float()
    return torch.arange(len(places)).repeat_interleave(places.shape[1]), places.flatten(), values.flatten()


def blend_item_graphs(neighbours: list[np.ndarray], weights: tuple[float, ...]) -> CSRGraph:
    """One (I, I) graph for every modality: the weighted sum of theirs (DRAGON's is 0.1 image + 0.9 text)."""
    num_items, k = neighbours[0].shape
    total = scipy.sparse.csr_matrix((num_items, num_items), dtype=np.float32)
    rowptr = np.arange(0, num_items * k + 1, k)
    for weight, columns in zip(weights, neighbours, strict=True):
        values = np.full(columns.size, weight / k, dtype=np.float32)
        graph = scipy.sparse.csr_matrix((values, columns.ravel().astype(np.int64), rowptr), (num_items, num_items))
        total = total + graph
    return CSRGraph.from_scipy(total)
