"""What the kernels of node_losses move and compute."""

from __future__ import annotations

from ..work import Arguments, Work, ordinary, size


def node_losses_forward(args: Arguments) -> Work:
    return _work(args, moved=size(args["h_ptr"], args["partial_ptr"]), times=1)


def node_losses_backward(args: Arguments) -> Work:
    moved = size(args["h_ptr"], args["grad_h_ptr"])
    if args["WEIGHT"] != "constant":
        moved += size(args["grad_logits_ptr"])
    return _work(args, moved=moved, times=2)


def _work(args: Arguments, moved: int, times: int) -> Work:
    """Rows, logits and the statistics that are kept; a form of the losses costs ``times`` its products."""
    h, nodes, modalities, pairs = args["h_ptr"], args["num_nodes"], args["M"], args["P"]
    logits = 0 if args["WEIGHT"] == "constant" else size(args["logits_ptr"])
    statistics = size(*(args[name] for name in ("w_dif_ptr", "norms_ptr", "cosines_ptr", "distances_ptr")))
    of_a_number = 2 * (modalities + pairs) * bool(args["COSINES"]) + 3 * pairs * bool(args["DISTANCES"])
    return Work(
        streamed=moved + logits + statistics,
        operations=times * nodes * args["D"] * of_a_number,
        arithmetic=ordinary(h),
    )


def add_partials(args: Arguments) -> Work:
    partial, pairs = args["partial_ptr"], args["P"]
    sums = (pairs if args["MDA"] != "none" else 0) + (args["MSA"] != "none")
    return Work(
        streamed=sums * args["programs"] * partial.element_size() + size(args["pair_norms_ptr"]),
        operations=sums * args["programs"],
        arithmetic=ordinary(partial),
        chain=sums * max(1, -(-args["programs"] // args["BLOCK_P"])),
    )
