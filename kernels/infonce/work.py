"""What the kernels of infonce move and compute: products of the whole batch with itself, tile by tile."""

from __future__ import annotations

from ..work import Arguments, Work, size


def infonce_forward(args: Arguments) -> Work:
    batch, modalities, width = (args[name] for name in ("batch", "M", "D"))
    directions = modalities * (modalities - 1)
    return _work(
        args,
        streamed=size(args["logsumexp_ptr"], args["losses_ptr"], args["nodes_ptr"]),
        passes=directions,
        operations=2 * directions * batch * batch * width,
    )


def infonce_backward(args: Arguments) -> Work:
    batch, modalities, width = (args[name] for name in ("batch", "M", "D"))
    blocks = -(-width // args["BLOCK_D"])  # each has programs of its own, which make all logits again
    directions = modalities * (modalities - 1)
    return _work(
        args,
        streamed=size(args["grad_unit_ptr"], args["weight_ptr"], args["nodes_ptr"], args["logsumexp_ptr"]),
        passes=directions * blocks,
        operations=2 * directions * batch * batch * width * (blocks + 1),
    )


def _work(args: Arguments, streamed: int, passes: int, operations: int) -> Work:
    """In each pass every program reads all keys, and its own rows."""
    unit, batch, width = args["unit_ptr"], args["batch"], args["D"]
    programs = -(-batch // args["BLOCK_N"])
    return Work(
        streamed=streamed,
        gathered=passes * (programs + 1) * batch * width * unit.element_size(),
        table=size(unit),
        operations=operations,
        arithmetic={2: "bf16", 4: "fp32", 8: "fp64"}[unit.element_size()],
        chain=2,  # tiles are asked for before they are needed
    )
