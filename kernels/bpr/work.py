"""What the kernels of bpr move and compute; of rows that come several times in a batch, the most that it can be."""

from __future__ import annotations

from ..work import Arguments, Work, least, ordinary, size


def bpr_forward(args: Arguments) -> Work:
    users, items, modalities, width = (args[name] for name in ("h_users_ptr", "h_items_ptr", "M", "D"))
    triples, of_a_row = args["users_ptr"].numel(), modalities * width * users.element_size()
    of_logits = modalities * users.element_size()
    logits = of_logits * (bool(args["HAS_USER_LOGITS"]) + 2 * bool(args["HAS_ITEM_LOGITS"]))
    gathered = triples * (3 * of_a_row + logits)
    read = size(args["users_ptr"], args["positives_ptr"], args["negatives_ptr"])
    return Work(
        streamed=read + size(args["slopes_ptr"], args["partial_ptr"]),
        gathered=gathered,
        table=least(gathered, size(users, items)),
        operations=triples * modalities * width * (10 if args["SUM_FUSION"] else 4),
        arithmetic=ordinary(users),
        chain=1 + -(-width // args["BLOCK_D"]),
    )


def add_up_losses(args: Arguments) -> Work:
    partial = args["partial_ptr"]
    return Work(
        streamed=size(partial, args["losses_ptr"]),
        operations=partial.numel(),
        arithmetic=ordinary(partial),
        chain=-(-args["programs"] // args["BLOCK_P"]),
    )


def sort_entries(args: Arguments) -> Work:
    """Ten operations for two entries, whose rows have 64 bits; all are read again for each block of entries."""
    ids, batch = args["users_ptr"].element_size(), args["batch"]
    blocks = [-(-count // args["BLOCK_P"]) for count in (batch, 2 * batch)]
    gathered = ids * (blocks[0] * batch + blocks[1] * 2 * batch)
    return Work(
        streamed=size(args["sorted_ptr"], args["order_ptr"], args["ends_ptr"]),
        gathered=gathered,
        table=least(gathered, 3 * batch * ids),
        operations=10 * (batch**2 + (2 * batch) ** 2),
        chain=1 + -(-2 * batch // args["BLOCK_O"]),
    )


def bpr_backward(args: Arguments) -> Work:
    rows, others, modalities, width = (args[name] for name in ("rows_ptr", "others_ptr", "M", "D"))
    entries, of_a_row = args["sorted_ptr"].numel(), modalities * width * rows.element_size()
    opponents = 1 if args["ITEMS"] else 2  # whose rows an entry needs: the user, or both items
    ids = size(args["sorted_ptr"], args["order_ptr"]) + 2 * size(args["ends_ptr"]) + opponents * entries * 8
    slopes = entries * (modalities + 1) * args["slopes_ptr"].element_size()
    logits = modalities * rows.element_size()
    own = entries * (of_a_row + logits) if args["HAS_LOGITS"] else 0
    written = entries * of_a_row + (entries * logits if args["HAS_LOGITS"] else 0)
    gathered = entries * opponents * (of_a_row + (logits if args["HAS_OTHER_LOGITS"] else 0)) + own
    return Work(
        streamed=ids + slopes + written * (2 if args["ADDS"] else 1),
        gathered=gathered,
        table=least(gathered, size(rows, others)),
        operations=entries * modalities * width * (4 * opponents + 4),
        arithmetic=ordinary(rows),
        chain=5 + -(-width // args["BLOCK_D"]),  # end, row, order, slopes and ids, logits, rows
    )


def add_up_pieces(args: Arguments) -> Work:
    """As if every piece were of a row that goes on: both its partial sums are read, and a row is written."""
    partial, ends, gradient = args["partial_rows_ptr"], args["ends_ptr"], args["grad_rows_ptr"]
    pieces = partial.shape[0] // 2
    rows = partial.numel() // 2 * gradient.element_size() * (2 if args["ADDS"] else 1)
    return Work(
        streamed=2 * pieces * ends.element_size() + size(partial) + rows,
        operations=partial.numel(),
        arithmetic=ordinary(gradient),
        chain=3,  # where rows end, which row, its partial sums
    )
