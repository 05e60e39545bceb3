"""What PyTorch's own calls move and compute on a GPU, by formula; of how many kernels each consists."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mde_fast.kernels.work import Work

# Make room, or say something of a tensor: nothing is launched.
NOTHING = frozenset(
    ("empty", "new_empty", "empty_like", "detach", "alias", "empty_strided", "new_empty_strided", "_local_scalar_dense")
)
PRODUCTS = frozenset(("mm", "addmm", "addmm_", "bmm", "baddbmm"))
FILLS = frozenset(
    ("zeros", "zeros_like", "new_zeros", "ones_like", "new_ones", "full", "full_like", "arange", "zero_", "fill_")
)
GATHERS = frozenset(("embedding", "index_select", "index", "gather", "_embedding_bag"))  # read rows by their ids
SPREADS = frozenset(("slice_backward", "select_backward", "embedding_dense_backward"))  # zeros, and a gradient in them

# Up to this many elements a sort is one block's (aten/src/ATen/native/cuda/Sort.cpp, should_use_small_sort), between
# filling in the places and copying the keys; beyond, a radix sort of 64-bit keys in passes of 8 bits, with a histogram
# and a scan before (CUB's onesweep).
SMALL_SORT, SMALL_SORT_KERNELS, RADIX_SORT_KERNELS = 4096, 3, 12
# embedding_dense_backward (aten/src/ATen/native/cuda/Embedding.cu): one kernel after the zeros up to this many ids;
# beyond, these are sorted, and the segments of equal ones found and added up.
SMALL_EMBEDDING, SEGMENT_KERNELS = 3072, 6


def kernels_of(name: str, args: tuple) -> int:
    """How many kernels a call launches, at least."""
    if name in ("sort", "argsort"):
        return SMALL_SORT_KERNELS if args[0].numel() <= SMALL_SORT else RADIX_SORT_KERNELS
    if name == "embedding_dense_backward":
        return 2 if args[1].numel() <= SMALL_EMBEDDING else 1 + RADIX_SORT_KERNELS + SEGMENT_KERNELS
    return 2 if name in ("slice_backward", "select_backward") else 1


def work_of(name: str, args: tuple, out: object) -> Work:
    """Each tensor that goes in or comes out is read or written once, but where a call is named above."""
    results = list(_tensors(out))
    written = sum(map(_bytes, results))
    if name == "_fused_adam_":
        return _adam(*args[:4])
    if name in PRODUCTS:
        left = [tensor for tensor in _tensors(args) if tensor.ndim >= 2][-2]
        read = sum(map(_bytes, _tensors(args)))
        operations = 2 * results[0].numel() * left.shape[-1]
        return Work(read + written, operations=operations, arithmetic=_arithmetic(left), chain=2)
    if name in FILLS:
        return Work(written, chain=0)
    if name in GATHERS:
        ids = sum(map(_bytes, _tensors(args[1:])))
        # As many rows as are written; of a bag, which adds them up, as there are ids.
        rows = args[1].numel() * _bytes(args[0][:1]) if name == "_embedding_bag" else written
        return Work(written + ids, gathered=rows, table=min(rows, _bytes(args[0])), chain=2)
    if name in SPREADS:
        return Work(written + 2 * _bytes(args[0]), chain=2)
    read = sum(map(_bytes, _tensors(args)))
    if name in ("sort", "argsort"):
        read *= 1 if args[0].numel() <= SMALL_SORT else RADIX_SORT_KERNELS
    return Work(read + written, operations=sum(tensor.numel() for tensor in results), chain=1)


def _adam(parameters: list[Tensor], gradients: list, first: list, second: list) -> Work:
    """Parameter, gradient and both moments are read, all but the gradient written; a dozen operations a number."""
    numbers = sum(tensor.numel() for tensor in parameters)
    moved = sum(map(_bytes, (*parameters, *first, *second))) * 2 + sum(map(_bytes, gradients))
    return Work(moved, operations=12 * numbers)


def _arithmetic(factor: Tensor) -> str:
    """How products of a tensor are made just now."""
    if factor.dtype == torch.float32:
        return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "fp32"
    return {torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}[factor.dtype]


def _tensors(given: object) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)


def _bytes(tensor: Tensor) -> int:
    """What is read of it: a number that is expanded is read once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
