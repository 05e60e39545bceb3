"""What the kernel of dropout moves and computes; the integers of its hash are not counted."""

from __future__ import annotations

from ..work import Arguments, Work, ordinary, size


def dropout(args: Arguments) -> Work:
    x = args["x_ptr"]
    rows = size(args["rows_ptr"]) if args["HAS_ROWS"] else 0
    return Work(
        streamed=size(x, args["out_ptr"], args["seed_ptr"]) + rows, operations=x.numel(), arithmetic=ordinary(x)
    )
