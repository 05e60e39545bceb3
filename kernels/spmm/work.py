"""What the kernels of spmm move and compute."""

from __future__ import annotations

from ..work import Arguments, Work, least, ordinary, size

CONSTANT, STORED, DEGREE_SCALED = range(3)  # VALUES of row_sum_kernel


def row_sum(args: Arguments) -> Work:
    x, columns, pieces, partial, width = (
        args[name] for name in ("x_ptr", "columns_ptr", "pieces_ptr", "partial_ptr", "D")
    )
    edges, cut, slots = columns.numel(), pieces.shape[0], partial.shape[0]
    # A piece of a long row writes a partial sum, any other one a row; only the latter reads its residual.
    written = (cut - slots) * width * x.element_size() + size(partial)
    residual = (cut - slots) * width * x.element_size() if args["HAS_RESIDUAL"] else 0
    values = size(args["values_ptr"]) if args["VALUES"] == STORED else 0
    scale = size(args["scale_ptr"]) if args["VALUES"] == DEGREE_SCALED else 0
    of_an_edge = scale and args["scale_ptr"].element_size()
    gathered = edges * (width * x.element_size() + of_an_edge)
    blocks = max(1, edges / max(cut * args["BLOCK_E"], 1))
    return Work(
        streamed=size(columns, pieces) + values + scale + residual + written,
        gathered=gathered,
        table=least(gathered, size(x) + scale),
        operations=edges * width * (1 if args["VALUES"] == CONSTANT else 2),
        arithmetic=ordinary(x),
        chain=1 + 2 * blocks + bool(args["HAS_RESIDUAL"]),  # the piece, then columns and rows block by block
    )


def add_partials(args: Arguments) -> Work:
    partial, splits, out = args["partial_ptr"], args["splits_ptr"], args["out_ptr"]
    rows = splits.shape[0] * args["D"] * out.element_size()
    return Work(
        streamed=size(partial, splits) + rows * (2 if args["HAS_RESIDUAL"] else 1),
        operations=partial.numel(),
        arithmetic=ordinary(out),
        chain=2 + max(1, partial.shape[0] / max(splits.shape[0] * args["BLOCK_S"], 1)),
    )


def edge_dot(args: Arguments) -> Work:
    right, columns, pieces, width = (args[name] for name in ("right_ptr", "columns_ptr", "pieces_ptr", "D"))
    edges, cut = columns.numel(), pieces.shape[0]
    blocks = max(1, edges / max(cut * args["BLOCK_E"], 1))
    return Work(
        streamed=size(columns, pieces, args["out_ptr"]) + cut * width * right.element_size(),
        gathered=edges * width * right.element_size(),
        table=least(edges * width * right.element_size(), size(right)),
        operations=2 * edges * width,
        arithmetic=ordinary(right),
        chain=1 + 2 * blocks,
    )
