"""What the kernels of edge_softmax move and compute; long rows are as many edges as their pieces hold at most."""

from __future__ import annotations

from ..csr import EDGES_PER_PIECE
from ..work import Arguments, Work, ordinary, size


def edge_softmax_forward(args: Arguments) -> Work:
    scores = args["scores_ptr"]
    return Work(
        streamed=size(scores, args["alpha_ptr"], args["pieces_ptr"], args["partial_ptr"]),
        operations=3 * scores.numel(),
        arithmetic=ordinary(scores),
        chain=2,
    )


def edge_softmax_backward(args: Arguments) -> Work:
    alpha = args["alpha_ptr"]
    return Work(
        streamed=size(args["grad_ptr"], alpha, args["out_ptr"], args["pieces_ptr"], args["partial_ptr"]),
        operations=4 * alpha.numel(),
        arithmetic=ordinary(alpha),
        chain=2,
    )


def long_rows_forward(args: Arguments) -> Work:
    return _long_rows(args, args["scores_ptr"], tensors=2, rounds=2)


def long_rows_backward(args: Arguments) -> Work:
    return _long_rows(args, args["alpha_ptr"], tensors=3, rounds=1)


def _long_rows(args: Arguments, of_edges, tensors: int, rounds: int) -> Work:
    """Each of a row's SHARES programs reads all of its partial sums, ``rounds`` times."""
    partial, splits = args["partial_ptr"], args["splits_ptr"]
    edges = min(partial.shape[0] * EDGES_PER_PIECE, of_edges.numel())
    programs = max(splits.shape[0] * args["SHARES"], 1)
    return Work(
        streamed=size(splits) + tensors * edges * of_edges.element_size(),
        gathered=args["SHARES"] * rounds * size(partial),
        table=size(partial),
        operations=3 * edges,
        arithmetic=ordinary(of_edges),
        chain=2 + rounds + max(1, edges / (programs * args["BLOCK_E"])),
    )
