"""What the kernels of project_rows move and compute: tiles of a product read each factor once for each other tile."""

from __future__ import annotations

from ..work import Arguments, Work, least, size


def project_rows_forward(args: Arguments) -> Work:
    features, weight, count, width, length = (args[name] for name in ("features_ptr", "weight_ptr", "count", "D", "F"))
    rows = count * length * features.element_size()
    return Work(
        streamed=size(args["items_ptr"], args["out_ptr"]),
        gathered=rows * -(-width // args["BLOCK_D"]) + size(weight) * -(-count // args["BLOCK_N"]),
        table=least(rows, size(features)) + size(weight),
        operations=2 * count * width * length,
        arithmetic=_arithmetic(args),
        chain=2,  # the items, then columns that are asked for before they are needed
    )


def project_rows_weight(args: Arguments) -> Work:
    features, grad, count, width, length = (args[name] for name in ("features_ptr", "grad_ptr", "count", "D", "F"))
    rows = count * length * features.element_size()
    return Work(
        streamed=size(args["items_ptr"], args["out_ptr"]),
        gathered=rows * -(-width // args["BLOCK_D"]) + size(grad) * -(-length // args["BLOCK_F"]),
        table=least(rows, size(features)) + size(grad),
        operations=2 * count * width * length,
        arithmetic=_arithmetic(args),
        chain=2,
    )


def _arithmetic(args: Arguments) -> str:
    return "tf32" if args["PRECISION"] == "tf32" else str(args["WORK"])
