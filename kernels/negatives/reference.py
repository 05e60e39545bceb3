"""Ground truth of sample_negatives: list what each user may draw and pick by number."""

import torch
from torch import Tensor


def sample_negatives_reference(table, users: Tensor, bits: Tensor) -> Tensor:
    count = table.candidates.numel()
    chosen = []
    for user, bit in zip(users.tolist(), bits.tolist()):
        start, stop = int(table.rowptr[user]), int(table.rowptr[user + 1])
        shifted = table.keys[start:stop] - user * (count + 1)
        own = shifted + torch.arange(stop - start, device=shifted.device)
        free = torch.ones(count, dtype=torch.bool, device=shifted.device)
        free[own] = False
        allowed = table.candidates[free]
        chosen.append(allowed[bit % allowed.numel()])
    return torch.stack(chosen) if chosen else users.new_empty(0)
