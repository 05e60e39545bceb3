"""What the kernel of draw_negatives moves; its numbers lie apart, so each costs a sector."""

from __future__ import annotations

from ..work import SECTOR, Arguments, Work, least, size


def draw_negatives(args: Arguments) -> Work:
    draws, steps = args["num_draws"], args["search_steps"]
    gathered = draws * SECTOR * (1 + steps + 1)  # where a user's keys are, the halvings at most, the item
    return Work(
        streamed=size(args["users_ptr"], args["bits_ptr"], args["out_ptr"]),
        gathered=gathered,
        table=least(gathered, size(args["candidates_ptr"], args["rowptr_ptr"], args["keys_ptr"])),
        chain=3 + steps,
    )
