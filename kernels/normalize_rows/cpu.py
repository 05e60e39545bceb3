"""CPU path of normalize_rows: the backward pass is one inner product and one combination per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..support import accumulation_dtype

NORM_EPS = 1e-12  # the smallest norm that is divided by, as in torch.nn.functional.normalize


def joined(tensors: Sequence[Tensor], columns: Sequence[int]) -> list[Tensor]:
    """The tables that tensors are or, where so many are its ``columns``, that those make when they are stacked."""
    tables, first = [], 0
    for count in columns or [0] * len(tensors):
        own = tensors[first : first + max(count, 1)]
        tables.append(torch.stack(tuple(own), dim=1) if count else own[0])
        first += len(own)
    return tables


def joined_shapes(tensors: Sequence[Tensor], columns: Sequence[int]) -> list[Tensor]:
    """Tensors of the shapes of :func:`joined`'s, which hold nothing of their own."""
    tables, first = [], 0
    for count in columns or [0] * len(tensors):
        own = tensors[first]
        tables.append(own[:, None].expand(own.shape[0], count, own.shape[1]) if count else own)
        first += max(count, 1)
    return tables


def empty_results(tables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Room for the stacked tables' rows and for their norms."""
    first = tables[0]
    shape = first.shape if len(tables) == 1 else (sum(table.shape[0] for table in tables), *first.shape[1:])
    return first.new_empty(shape), first.new_empty(shape[:-1], dtype=accumulation_dtype(first.dtype))


def parts(tables: Sequence[Tensor], *stacked: Tensor | None) -> Iterator[tuple]:
    """Each table, and after it what lies beside it in the stacked tensors."""
    if len(tables) == 1:
        yield tables[0], *stacked
        return
    first = 0
    for table in tables:
        rows = slice(first, first + table.shape[0])
        yield table, *(None if tensor is None else tensor[rows] for tensor in stacked)
        first = rows.stop


def contiguous_parts(tables: Sequence[Tensor], *stacked: Tensor | None) -> Iterator[tuple]:
    """:func:`parts` as kernels read them."""
    whole = (None if tensor is None else tensor.contiguous() for tensor in stacked)
    return parts([table.contiguous() for table in tables], *whole)


def empty_gradients(tables: Sequence[Tensor]) -> list[Tensor]:
    """Room for the gradient of each table."""
    return [table.new_empty(table.shape) for table in tables]


def normalize_rows_forward_cpu(
    tensors: Sequence[Tensor], scale: float, columns: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    tables = joined(tensors, columns)
    results = empty_results(tables)
    for x, out, norms in parts(tables, *results):
        norms.copy_(torch.linalg.vector_norm(x, dim=-1, dtype=norms.dtype).clamp_min_(NORM_EPS))
        torch.mul(x, (scale / norms).unsqueeze(-1), out=out)
    return results


def normalize_rows_backward_cpu(
    grad: Tensor,
    grad_norms: Tensor | None,
    norms: Tensor,
    tensors: Sequence[Tensor],
    scale: float,
    columns: Sequence[int] = (),
) -> list[Tensor]:
    tables, gradients = joined(tensors, columns), []
    for x, dy, d_norm, norm in parts(tables, grad, grad_norms, norms):
        x, dy = x.to(norm.dtype), dy.to(norm.dtype)
        along = (dy * x).sum(-1).mul_(scale).div_(norm)  # <dy, s x / |x|>
        if d_norm is not None:
            along.sub_(d_norm.mul(norm))
        along = torch.where(norm > NORM_EPS, along, 0.0)  # below eps the norm is a constant
        gradient = torch.addcmul(dy.mul((scale / norm).unsqueeze(-1)), x, (along / norm / norm).unsqueeze(-1), value=-1)
        gradients.append(gradient.to(tables[0].dtype).contiguous())
    return gradients
