"""A sparse matrix in compressed rows, as every operator takes it."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

EDGES_PER_PIECE = 128  # a hub of 10,000 edges becomes 79 pieces of work instead of one that all others wait for
EDGES_PER_BLOCK = 8  # that kernels take at once; pieces of as many blocks stay in the order of their rows, for caches
# Kernels reckon in the indices' own type, and past a row's end: edge_softmax adds 8,192 to the number of an edge.
MOST_EDGES_IN_INT32 = 2**31 - 2**16


class Pieces(NamedTuple):
    """A graph's rows as pieces of at most EDGES_PER_PIECE edges, for kernels that give each piece to a program.

    Attributes:
        pieces: (pieces, 4) row, first edge, last edge + 1, and the slot of its partial sum, -1 for a whole row. The
            longest come first, by blocks of EDGES_PER_BLOCK, so that nothing long is begun when all else is done.
        splits: (rows of several pieces, 3) row, first slot, last slot + 1.
        num_slots: partial sums in all.
    """

    pieces: Tensor
    splits: Tensor
    num_slots: int


@dataclass(eq=False)
class CSRGraph:
    """A sparse (rows, columns) matrix; row r holds the neighbours that node r receives messages from.

    Attributes:
        rowptr: (rows + 1,) int32 or int64; the edges of row r are ``rowptr[r]:rowptr[r + 1]``.
        columns: (edges,) of the same dtype.
        shape: (rows, columns).
        values: (edges,) float edge values, or None when every edge has the value ``constant``.
        constant: the value of every edge when ``values`` is None.
        symmetric: the matrix equals its transpose, so a backward pass may use it as it is.

    Raises:
        ValueError: sizes that do not match, a row pointer that does not ascend from 0 to the number of edges, a column
            out of range, more edges than :func:`index_dtype` has int32 for, or tensors on several devices. ``checked``
            says that the contents are known to be right.
        TypeError: index types other than one of int32 and int64, or values that are not floating point.
    """

    rowptr: Tensor
    columns: Tensor
    shape: tuple[int, int]
    values: Tensor | None = None
    constant: float = 1.0
    symmetric: bool = False
    _cache: dict = field(default_factory=dict, repr=False)
    checked: InitVar[bool] = False

    def __post_init__(self, checked: bool):
        rows, columns = self.shape
        if self.rowptr.shape != (rows + 1,):
            raise ValueError(f"rowptr has shape {tuple(self.rowptr.shape)}, expected ({rows + 1},) for {rows} rows")
        if self.rowptr.dtype not in (torch.int32, torch.int64) or self.columns.dtype != self.rowptr.dtype:
            raise TypeError(
                "rowptr and columns must share one of int32 and int64, "
                f"got {self.rowptr.dtype} and {self.columns.dtype}"
            )
        if self.columns.ndim != 1:
            raise ValueError(f"columns has shape {tuple(self.columns.shape)}, expected (edges,)")
        if self.rowptr.dtype == torch.int32 and self.num_edges > MOST_EDGES_IN_INT32:
            raise ValueError(f"int32 indices of {self.num_edges} edges: from {MOST_EDGES_IN_INT32 + 1} on take int64")
        if self.values is not None and self.values.shape != self.columns.shape:
            raise ValueError(f"{tuple(self.values.shape)} values for {tuple(self.columns.shape)} columns")
        if self.values is not None and not self.values.is_floating_point():
            raise TypeError(f"values are {self.values.dtype}, expected floating point: call values.float()")
        for name, tensor in (("columns", self.columns), ("values", self.values)):
            if tensor is not None and tensor.device != self.device:
                raise ValueError(f"rowptr is on {self.device} and {name} on {tensor.device}: move both to one device")
        if self.symmetric and rows != columns:
            raise ValueError(f"a {rows} x {columns} matrix cannot be symmetric")
        if not checked and self.device.type != "meta":
            self._check_contents()

    def _check_contents(self) -> None:
        """Kernels read where the indices point, so a wrong index must not get that far."""
        first, last = int(self.rowptr[0]), int(self.rowptr[-1])
        if first != 0 or last != self.num_edges:
            raise ValueError(f"rowptr goes from {first} to {last}, expected 0 to {self.num_edges}, the number of edges")
        if self.shape[0] and int(self.degrees().min()) < 0:
            row = int(self.degrees().argmin())
            raise ValueError(f"rowptr descends at row {row}: edges must be sorted by row, see CSRGraph.from_edges")
        check_ids("columns", self.columns, self.shape[1])

    @classmethod
    def from_edges(
        cls,
        rows: Tensor,
        columns: Tensor,
        shape: tuple[int, int],
        values: Tensor | None = None,
        *,
        constant: float = 1.0,
        symmetric: bool = False,
    ) -> CSRGraph:
        """Edges in any order, sorted by row and column here; a repeated edge stays repeated, which adds it up.

        Args:
            rows, columns: (edges,) integer tensors or arrays.
            shape: (rows, columns) of the matrix.
            values: (edges,) floating point, or None when every edge has the value ``constant``. Not copied where the
                edges are sorted already.
            symmetric: the matrix equals its transpose; not checked.

        Raises:
            ValueError: lengths that do not match, or an index out of range.
            TypeError: indices that are no integers.
        """
        rows, columns = torch.as_tensor(rows), torch.as_tensor(columns)
        values = None if values is None else torch.as_tensor(values)
        for name, ids in (("rows", rows), ("columns", columns)):
            if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
                raise TypeError(f"{name} are {ids.dtype}, expected integers")
        if rows.shape != columns.shape or rows.ndim != 1:
            raise ValueError(f"rows {tuple(rows.shape)} and columns {tuple(columns.shape)} must be (edges,) both")
        if values is not None and values.shape != rows.shape:
            raise ValueError(f"{tuple(values.shape)} values for {rows.numel()} edges")
        check_ids("rows", rows, shape[0])
        check_ids("columns", columns, shape[1])
        place = rows.long() * shape[1] + columns.long()
        if not bool((place[1:] >= place[:-1]).all()):
            order = torch.argsort(place, stable=True)
            rows, columns, values = rows[order], columns[order], None if values is None else values[order]
        index = index_dtype(rows.numel(), shape)
        rowptr = torch.zeros(shape[0] + 1, dtype=index, device=rows.device)
        torch.cumsum(torch.bincount(rows, minlength=shape[0]), 0, out=rowptr[1:])
        return cls(rowptr, columns.to(index), (shape[0], shape[1]), values, constant, symmetric, checked=True)

    @classmethod
    def from_scipy(cls, matrix, *, constant: float | None = None, symmetric: bool = False) -> CSRGraph:
        """Copy a scipy sparse matrix; with ``constant`` its values are dropped and every edge has that value."""
        matrix = matrix.tocsr(copy=True)
        matrix.sort_indices()
        index = index_dtype(matrix.nnz, matrix.shape)
        return cls(
            rowptr=torch.from_numpy(matrix.indptr).to(index),
            columns=torch.from_numpy(matrix.indices).to(index),
            shape=tuple(matrix.shape),
            values=None if constant is not None else torch.from_numpy(np.ascontiguousarray(matrix.data)),
            constant=1.0 if constant is None else constant,
            symmetric=symmetric,
        )

    @property
    def num_edges(self) -> int:
        return self.columns.numel()

    @property
    def device(self) -> torch.device:
        return self.rowptr.device

    def _cached(self, key, make):
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def degrees(self) -> Tensor:
        """(rows,) number of edges of each row."""
        return self._cached("degrees", lambda: self.rowptr.diff())

    def rows(self) -> Tensor:
        """(edges,) the row that each edge belongs to."""

        def make():
            rows = torch.arange(self.shape[0], device=self.device, dtype=self.rowptr.dtype)
            return rows.repeat_interleave(self.degrees(), output_size=self.num_edges)

        return self._cached("rows", make)

    def edge_values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(edges,) the value of each edge, written out."""

        def make():
            if self.values is not None:
                return self.values.to(dtype)
            return torch.full((self.num_edges,), self.constant, dtype=dtype, device=self.device)

        return self._cached(("edge_values", dtype), make)

    def inverse_sqrt_degrees(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(rows,) D^-1/2 of eq. 2; 0 for an isolated node."""

        def make():
            degrees = self.degrees().double()  # a half type cannot hold a hub's degree
            return torch.where(degrees > 0, degrees.rsqrt(), 0.0).to(dtype)

        return self._cached(("inverse_sqrt_degrees", dtype), make)

    def normalised_values(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(edges,) d_r^-1/2 d_c^-1/2, the edge values of D^-1/2 A D^-1/2 (eq. 2), for square graphs."""

        def make():
            scale = self.inverse_sqrt_degrees(dtype)
            return scale[self.rows().long()] * scale[self.columns.long()]

        return self._cached(("normalised_values", dtype), make)

    def transpose_order(self) -> Tensor:
        """(edges,) edge numbers sorted by column, rows ascending within one: ``values[order]`` are the transpose's."""
        return self._cached("transpose_order", lambda: torch.argsort(self.columns, stable=True))

    def transpose(self) -> CSRGraph:
        """The transposed matrix, built once; a symmetric one is its own."""
        if self.symmetric:
            return self

        def make():
            order = self.transpose_order()
            counts = torch.bincount(self.columns.long(), minlength=self.shape[1])
            rowptr = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
            return CSRGraph(
                rowptr=rowptr.to(self.rowptr.dtype),
                columns=self.rows()[order],
                shape=(self.shape[1], self.shape[0]),
                values=None if self.values is None else self.values[order],
                constant=self.constant,
                checked=True,
            )

        return self._cached("transpose", make)

    def pieces(self) -> Pieces:
        """The rows cut into pieces of like length."""

        def make():
            degrees = self.degrees().long()
            counts = (degrees + EDGES_PER_PIECE - 1).div(EDGES_PER_PIECE, rounding_mode="floor").clamp_min_(1)
            row = torch.arange(self.shape[0], device=self.device).repeat_interleave(counts)
            place = torch.arange(row.numel(), device=self.device) - (counts.cumsum(0) - counts)[row]
            start = self.rowptr.long()[row] + place * EDGES_PER_PIECE
            stop = torch.minimum(start + EDGES_PER_PIECE, self.rowptr.long()[row + 1])
            partial = counts[row] > 1
            slot = torch.where(partial, partial.cumsum(0) - 1, -1)
            split_row = torch.nonzero(counts > 1).flatten()
            last_slot = counts[split_row].cumsum(0)
            splits = torch.stack([split_row, last_slot - counts[split_row], last_slot], dim=1)
            dtype = self.rowptr.dtype
            blocks = (stop - start + EDGES_PER_BLOCK - 1).div(EDGES_PER_BLOCK, rounding_mode="floor")
            longest_first = torch.argsort(blocks, descending=True, stable=True)
            pieces = torch.stack([row, start, stop, slot], dim=1).to(dtype)[longest_first]
            return Pieces(pieces, splits.to(dtype), int(partial.sum()))

        return self._cached("pieces", make)

    def prepare(self, dtype: torch.dtype = torch.float32) -> CSRGraph:
        """Make now what is otherwise made at first use; ``torch.compile(fullgraph=True)`` cannot while it traces."""
        for graph in (self, self.transpose()):
            graph.pieces()
            if graph.values is not None:
                graph.edge_values(dtype)
        if self.symmetric:
            self.inverse_sqrt_degrees(dtype)
            if self.device.type == "cpu":
                self.normalised_values(dtype)
        return self

    def require_operand(self, x: Tensor, rows: int, name: str = "x") -> None:
        """Refuse a dense matrix that an operator on this graph cannot take; ``name`` is what the caller calls it.

        Raises:
            ValueError: a shape other than (rows, D), or another device.
            TypeError: not floating point.
        """
        if x.ndim != 2 or x.shape[0] != rows:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, a graph of shape {self.shape} needs ({rows}, D)")
        if x.device != self.device:
            raise ValueError(f"{name} is on {x.device} and the graph on {self.device}: move one of them with .to()")
        if not x.is_floating_point():
            raise TypeError(f"{name} is {x.dtype}, expected floating point: call {name}.float()")

    def to(self, device) -> CSRGraph:
        """The same graph on another device; what was cached is made there again when asked for."""
        if torch.device(device) == self.device:
            return self
        return CSRGraph(
            rowptr=self.rowptr.to(device),
            columns=self.columns.to(device),
            shape=self.shape,
            values=None if self.values is None else self.values.to(device),
            constant=self.constant,
            symmetric=self.symmetric,
            checked=True,
        )


def index_dtype(num_edges: int, shape: tuple[int, int]) -> torch.dtype:
    """int32 for the indices of a graph, or int64 where those, or what kernels add to an edge's number, need it."""
    return torch.int32 if num_edges <= MOST_EDGES_IN_INT32 and max(shape) < 2**31 else torch.int64


def check_ids(name: str, ids: Tensor, limit: int) -> None:
    """Refuse ids outside 0..limit - 1.

    Raises:
        ValueError: naming the range found.
    """
    if ids.numel():
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= limit:
            raise ValueError(f"{name} range from {low} to {high}, expected 0 to {limit - 1}")
