"""What the kernels of normalize_rows move and compute."""

from __future__ import annotations

from ..work import Arguments, Work, ordinary, size


def normalize_rows_forward(args: Arguments) -> Work:
    x = args["x_ptr"]
    return Work(streamed=size(x, args["out_ptr"], args["norm_ptr"]), operations=3 * x.numel(), arithmetic=ordinary(x))


def normalize_rows_backward(args: Arguments) -> Work:
    x, norm = args["x_ptr"], args["norm_ptr"]
    norms = size(norm) + (size(args["grad_norm_ptr"]) if args["HAS_GRAD_NORM"] else 0)
    return Work(
        streamed=size(args["grad_ptr"], x, args["grad_x_ptr"]) + norms,
        operations=5 * x.numel(),
        arithmetic=ordinary(x),
    )
