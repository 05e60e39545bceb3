"""What the kernels of cosine_losses move and compute."""

from __future__ import annotations

from ..work import Arguments, Work, least, ordinary, size


def cosine_losses_forward(args: Arguments) -> Work:
    return _work(args, written=size(args["partial_ptr"]), operations_of_a_number=6)


def cosine_losses_backward(args: Arguments) -> Work:
    return _work(args, written=size(args["grad_x_ptr"], args["grad_ptr"]), operations_of_a_number=10)


def _work(args: Arguments, written: int, operations_of_a_number: int) -> Work:
    """A vector that several pairs share comes from a cache of the multiprocessor: it is counted once."""
    x, target, batch, width = (args[name] for name in ("x_ptr", "target_ptr", "batch", "D"))
    streamed, gathered, table = written, 0, 0
    for tensor, ids, has_ids, first in (
        (x, args["rows_ptr"], args["HAS_ROWS"], 0),
        (target, args["target_rows_ptr"], args["HAS_TARGET_ROWS"], 1),
    ):
        vectors = len(set(args["PAIRS"][first::2])) * batch * width * tensor.element_size()
        if has_ids:
            streamed, gathered, table = streamed + size(ids), gathered + vectors, table + size(tensor)
        else:
            streamed += vectors
    return Work(
        streamed=streamed,
        gathered=gathered,
        table=least(gathered, table),
        operations=args["P"] * batch * width * operations_of_a_number,
        arithmetic=ordinary(x),
        chain=1 + bool(args["HAS_ROWS"] or args["HAS_TARGET_ROWS"]),
    )
