"""What the kernels of topk move; how often scores are equal depends on them, and is not counted."""

from __future__ import annotations

from ..work import SECTOR, Arguments, Work, size


def mask_seen(args: Arguments) -> Work:
    """With as many items seen by a ranked user as by a user on average."""
    columns, scores = args["columns_ptr"], args["scores_ptr"]
    users, mean = scores.shape[0], columns.numel() / max(args["rowptr_ptr"].numel() - 1, 1)
    return Work(
        streamed=size(args["users_ptr"]) + users * mean * columns.element_size(),
        gathered=users * SECTOR * (1 + mean),  # its place in the matrix, and each score by itself
        table=min(users * SECTOR * (1 + mean), size(scores)),
        chain=2 + max(1, mean / args["BLOCK_E"]),
    )


def settle_ties(args: Arguments) -> Work:
    tensors = ("values_ptr", "candidates_ptr", "out_values_ptr", "out_items_ptr")
    return Work(streamed=size(*(args[name] for name in tensors)), chain=2)
