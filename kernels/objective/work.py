"""What objective's own kernels move and compute."""

from __future__ import annotations

from ..work import Arguments, Work, least, ordinary, size


def squares(args: Arguments) -> Work:
    norms, users, partial = args["norms_ptr"], args["users_ptr"], args["partial_ptr"]
    gathered = args["batch_numbers"] * norms.element_size()
    logits = size(args["user_logits_ptr"], args["item_logits_ptr"]) if args["SHRINK"] else 0
    numbers = args["batch_numbers"] + (args["user_numbers"] + args["item_numbers"] if args["SHRINK"] else 0)
    return Work(
        streamed=size(users) + logits + (size(partial) if args["SHRINK"] else size(partial) // 3),
        gathered=gathered,
        table=least(gathered, size(norms)),
        operations=2 * numbers,
        arithmetic=ordinary(partial),
        chain=2,
    )


def add_up(args: Arguments) -> Work:
    sums = [args[name] for name in ("user_partial_ptr", "item_partial_ptr", "ranking_ptr", "squares_ptr")]
    # Of MDA, MSA, the ranking and the squares, one after the other.
    blocks = sum(-(-args[name] // args["BLOCK_P"]) * (args["P"] + 1) for name in ("user_programs", "item_programs"))
    blocks += -(-args["ranking_programs"] // args["BLOCK_R"]) + 3 * -(-args["square_programs"] // args["BLOCK_R"])
    return Work(
        streamed=size(*sums, args["weights_ptr"], args["parts_ptr"]),
        operations=sum(each.numel() for each in sums),
        arithmetic=ordinary(sums[0]),
        chain=blocks + 1,
    )


def squares_backward(args: Arguments) -> Work:
    norms, logits = args["norms_ptr"], size(args["user_logits_ptr"], args["item_logits_ptr"])
    probes = norms.numel() * (args["halvings"] + 1) * args["sorted_ptr"].element_size()
    # Of the norms no more rows are read than the batch has; where all gradients are 0 they are written all the same.
    read = min(args["batch"] * args["M"], norms.numel()) * norms.element_size()
    return Work(
        streamed=read + size(args["grad_norms_ptr"]) + logits * (2 if args["SHRINK"] else 1),
        gathered=probes,
        table=least(probes, size(args["sorted_ptr"])),
        operations=2 * norms.numel(),
        arithmetic=ordinary(norms),
        chain=args["halvings"] + 3,
    )
