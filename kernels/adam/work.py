"""What the kernel of Adam's step moves and computes; the integers of its hash are not counted."""

from __future__ import annotations

from ..work import Arguments, Work, ordinary, size


def adam_step(args: Arguments) -> Work:
    parameter, gradient, first, second = (args[f"{name}_ptr"] for name in ("parameter", "gradient", "first", "second"))
    read_and_written = 2 * size(parameter, first, second)
    return Work(
        streamed=read_and_written + size(gradient, args["step_ptr"]),
        operations=14 * parameter.numel(),
        arithmetic=ordinary(parameter),
    )
