"""What the kernels of normalize_rows move and compute."""

from __future__ import annotations

from torch import Tensor

from ..work import Arguments, Work, ordinary, size


def _sources(args: Arguments) -> list[Tensor]:
    """What the launch reads rows of."""
    return [args[f"x{number}_ptr"] for number in range(args["SOURCES"])]


def normalize_rows_forward(args: Arguments) -> Work:
    sources = _sources(args)
    rows = sum(args[f"count{number}"] for number in range(args["SOURCES"]))
    numbers = sum(x.numel() for x in sources)
    return Work(
        streamed=2 * size(*sources) + rows * args["norm_ptr"].element_size(),
        operations=3 * numbers,
        arithmetic=ordinary(sources[0]),
    )


def normalize_rows_backward(args: Arguments) -> Work:
    sources = _sources(args)
    rows = sum(args[f"count{number}"] for number in range(args["SOURCES"]))
    norms = rows * args["norm_ptr"].element_size() * (2 if args["HAS_GRAD_NORM"] else 1)
    return Work(
        streamed=3 * size(*sources) + norms,
        operations=5 * sum(x.numel() for x in sources),
        arithmetic=ordinary(sources[0]),
    )
