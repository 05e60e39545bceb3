"""A torch sparse matrix whose products with dense matrices run as our operator."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .graphs import MatrixGraphs
from .indices import Indices
from .record import Record
from .selection import Selection
from .unwrap import unwrapped

_MADE = "made from "  # before the name of a matrix: those that a model makes of its edges
LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)
DTYPES = (torch.float32, torch.float64)

_PRODUCTS = frozenset(
    (torch.sparse.mm, torch.mm, torch.Tensor.mm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
    + (torch.mv, torch.Tensor.mv)
)
_SUMS_WITH_PRODUCTS = frozenset((torch.sparse.addmm, torch.addmm, torch.Tensor.addmm))
_GET_T, _GET_MT = (vars(torch._C.TensorBase)[name].__get__ for name in ("T", "mT"))
_TRANSPOSES = frozenset((torch.t, torch.Tensor.t, _GET_T, _GET_MT))
_SWAPS = frozenset((torch.transpose, torch.Tensor.transpose))

# Names of functions that return the matrix itself, equal or converted; what they return is accelerated too.
_EQUAL = frozenset(("coalesce", "detach", "to_sparse", "to_sparse_coo", "to_sparse_csr", "to_sparse_csc", "alias"))
_CONVERTED = frozenset(
    ("to", "cpu", "cuda", "clone", "float", "double", "half", "bfloat16", "type", "type_as", "pin_memory", "contiguous")
)
_SCALINGS = frozenset(
    (torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__)
    + (torch.div, torch.Tensor.div, torch.Tensor.__truediv__)
)
_INDICES = frozenset((torch.Tensor._indices, torch.Tensor.indices))
# Names that only look at the matrix; they are not counted as left to PyTorch.
_LOOKS = frozenset(
    ("__get__", "__set__", "size", "dim", "numel", "is_coalesced", "indices", "values", "_indices", "_values", "_nnz")
    + ("crow_indices", "col_indices", "ccol_indices", "row_indices", "sparse_dim", "dense_dim", "requires_grad_")
    + ("is_floating_point", "is_complex", "__repr__", "__len__", "__format__", "__hash__", "get_device", "element_size")
    + ("is_inference", "is_pinned", "is_contiguous", "nelement", "ndimension", "data_ptr")
)


def why_not_accelerated(tensor: Tensor) -> str | None:
    """Why a sparse tensor cannot be a :class:`SparseMatrix`; None when it can."""
    if tensor.layout not in LAYOUTS:
        return f"its layout is {str(tensor.layout).removeprefix('torch.')}"
    if tensor.ndim != 2 or tensor.dense_dim() != 0:
        return "it is not a matrix of numbers"
    if tensor.dtype not in DTYPES:
        return f"its values are {str(tensor.dtype).removeprefix('torch.')}"
    return None


class SparseMatrix(torch.Tensor):
    """A torch sparse matrix (COO, CSR or CSC) whose products with dense matrices run as :func:`mde_fast.kernels.spmm`.

    To everything else it is the matrix it was made from: every function of PyTorch is called with that one, so that
    shapes, indices, values, conversions, changes in place and errors are PyTorch's own. Copies are accelerated,
    pickles are plain.
    """

    label: str
    record: Record
    graphs: MatrixGraphs
    _matrix: Tensor

    @staticmethod
    def __new__(cls, plain: Tensor, label: str, record: Record, graphs: MatrixGraphs | None = None) -> SparseMatrix:
        """
        Args:
            plain: the matrix.
            label: what reports call it.
            record: where its products are counted.
            graphs: of the matrix, where they are known.
        """
        self = torch.Tensor._make_subclass(cls, plain.detach())
        self._matrix, self.label, self.record = plain, label, record
        self.graphs = MatrixGraphs(plain) if graphs is None else graphs
        return self

    @property
    def plain(self) -> Tensor:
        """The matrix it was made from."""
        with torch._C.DisableTorchFunctionSubclass():
            if self.requires_grad:  # set by torch.sparse_coo_tensor(..., requires_grad=True), which knows only this one
                self.requires_grad_(False)
                self._matrix.requires_grad_()
        return self._matrix

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if function in _PRODUCTS or function in _SUMS_WITH_PRODUCTS:
            result, reason = _product(function, arguments, keywords)
            if reason is None:
                return result
        else:
            reason = None
        wrappers: dict[int, SparseMatrix] = {}
        plain_arguments = unwrapped(arguments, SparseMatrix, wrappers)
        result = function(*plain_arguments, **unwrapped(keywords, SparseMatrix, wrappers))
        owner = next(iter(wrappers.values()))
        name = getattr(function, "__name__", str(function))
        if isinstance(result, Tensor) and id(result) in wrappers:
            return wrappers[id(result)]
        if function in _INDICES:
            return _followed(owner, result)
        if isinstance(result, Tensor) and result.layout in LAYOUTS:
            derived = _derived(owner, function, name, arguments, keywords, result)
            if derived is not None:
                return derived
        if name not in _LOOKS:
            owner.record.count_left(name, reason)
        return result

    def __deepcopy__(self, memo) -> SparseMatrix:
        if self.plain.layout == torch.sparse_coo:
            plain = copy.deepcopy(self.plain, memo)
        else:  # PyTorch cannot copy these deeply
            plain = self.plain.detach().clone().requires_grad_(self.plain.requires_grad)
        copied = SparseMatrix(plain, self.label, self.record)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol):
        return self.plain.__reduce_ex__(protocol)


def _derived(owner: SparseMatrix, function, name: str, arguments, keywords, result: Tensor) -> SparseMatrix | None:
    """What a conversion or transposition returned, accelerated; None for other results."""
    if result.ndim != 2 or result.dense_dim() != 0:
        return None
    if function in _SCALINGS:
        return _scaled(owner, arguments, keywords, result)
    flips = function in _TRANSPOSES
    if function in _SWAPS:
        first, second = arguments[1:] if len(arguments) == 3 else (keywords["dim0"], keywords["dim1"])
        flips = first % 2 != second % 2
    graphs = None
    if (flips or function in _SWAPS or name in _EQUAL) and not result.requires_grad:
        graphs = MatrixGraphs(result, owner.graphs, transposed=flips)
    elif not flips and name not in _EQUAL and name not in _CONVERTED:
        return None
    return SparseMatrix(result, owner.label, owner.record, graphs)


def _scaled(owner: SparseMatrix, arguments, keywords, result: Tensor) -> SparseMatrix | None:
    """A number times a COO matrix, which has the same edges in the same order; None for other products."""
    plain = owner.plain
    others = [argument for argument in arguments if argument is not owner]
    if len(others) != 1 or keywords or not isinstance(others[0], (int, float)):
        return None
    if result.requires_grad or not _is_followed(owner) or why_not_accelerated(result) is not None:
        return None
    if result._indices().data_ptr() != plain._indices().data_ptr() and not torch.equal(
        result._indices(), plain._indices()
    ):
        return None
    label = _name_of_made(owner.label)
    if owner.label != label:
        owner.record.count_made(label, tuple(result.shape), result._nnz())
    return SparseMatrix(result, label, owner.record, MatrixGraphs(result, chosen=owner.graphs.selection()))


# ---------------------------------------------------------------------------------------------------------------------
# Matrices that a model makes of an accelerated one's edges


def _name_of_made(label: str) -> str:
    return label if label.startswith(_MADE) else _MADE + label


def _is_followed(owner: SparseMatrix) -> bool:
    plain = owner.plain
    return (
        plain.layout == torch.sparse_coo
        and plain.ndim == 2
        and plain._nnz() >= owner.record.min_edges_once
        and not plain.is_inference()
        and not torch._C._are_functorch_transforms_active()
    )


def _followed(owner: SparseMatrix, indices: Tensor) -> Tensor:
    """A matrix's indices that lead to the matrices made of them."""
    if not _is_followed(owner) or indices.is_inference():
        return indices
    record, label = owner.record, _name_of_made(owner.label)
    shape = tuple(owner.plain.shape)

    def made(matrix: Tensor, values: Tensor, chosen: Selection | str) -> Tensor:
        if not isinstance(chosen, str):
            reason = why_not_accelerated(matrix) or _why_not_made(matrix, values, shape, record.min_edges_once)
        else:
            reason = chosen
        if isinstance(chosen, str) or reason is not None:
            record.count_left(label, reason)
            return matrix
        record.count_made(label, shape, matrix._nnz())
        return SparseMatrix(matrix, label, record, MatrixGraphs(matrix, chosen=chosen))

    return Indices(indices, owner.graphs.selection(), made)


def _why_not_made(matrix: Tensor, values: Tensor, shape: tuple[int, ...], min_edges: int) -> str | None:
    if values.requires_grad and torch.is_grad_enabled():
        return "gradients of its values"
    if tuple(matrix.shape) != shape:
        return "another shape"
    if matrix._nnz() < min_edges:
        return f"fewer than {min_edges:,} edges"
    if matrix.is_inference():
        return "made under inference_mode"
    return None


def _product(function, arguments: tuple, keywords: dict) -> tuple[Tensor | None, str | None]:
    """The product, or why PyTorch has to compute it."""
    addend, scales = None, {}
    if function in _SUMS_WITH_PRODUCTS:
        if len(arguments) != 3 or not keywords.keys() <= {"alpha", "beta"}:
            return None, "unusual arguments"
        addend, arguments = arguments[0], arguments[1:]
        scales = keywords
    elif len(arguments) != 2 or keywords:
        return None, "unusual arguments"
    matrix, x = arguments
    reason = _why_not(matrix, x, addend)
    if reason is not None:
        return None, reason
    columns = x if x.ndim == 2 else x[:, None]
    if matrix.plain.requires_grad and torch.is_grad_enabled():
        result = matrix.graphs.product_with_values(columns, matrix.plain.values())
    else:
        result = matrix.graphs.product(columns)
    if addend is not None:
        alpha, beta = scales.get("alpha", 1), scales.get("beta", 1)
        result = result * alpha if beta == 0 else torch.add(addend * beta, result, alpha=alpha)
    matrix.record.count_product(matrix.label)
    return (result if x.ndim == 2 else result[:, 0]), None


def _why_not(matrix, x, addend) -> str | None:
    """Why a product cannot be ours; PyTorch then computes it, or raises its own error."""
    if not isinstance(matrix, SparseMatrix):
        return "dense @ sparse"
    if not isinstance(x, Tensor) or isinstance(x, SparseMatrix) or x.layout != torch.strided:
        return "sparse @ sparse"
    plain = matrix.plain
    if plain._nnz() < matrix.record.min_edges:
        return f"fewer than {matrix.record.min_edges:,} edges"
    if plain.dtype not in DTYPES:
        return str(plain.dtype).removeprefix("torch.")
    if x.ndim not in (1, 2) or x.shape[0] != plain.shape[1] or (addend is not None and x.ndim != 2):
        return "shapes"
    if x.dtype != plain.dtype or x.device != plain.device:
        return "a dense matrix of another type or device"
    if addend is not None and (isinstance(addend, SparseMatrix) or addend.layout != torch.strided):
        return "a sparse addend"
    if addend is not None and (addend.dtype != x.dtype or addend.device != x.device):
        return "an addend of another type or device"
    if x.numel() == 0 or plain.shape[0] == 0:
        return "nothing to multiply"
    if torch.is_autocast_enabled(x.device.type):
        return "autocast"
    if torch._C._are_functorch_transforms_active():
        return "torch.func"
    if plain.requires_grad and torch.is_grad_enabled():
        if plain.layout == torch.sparse_csc:
            return "gradients of values, CSC"
        if plain.layout == torch.sparse_coo and not plain.is_coalesced():
            return "gradients of values, not coalesced"
    return None
