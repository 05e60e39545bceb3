"""A data set small enough to check by hand, for the tests of any room."""

from __future__ import annotations

import numpy as np
import torch

from mde_fast.data.dataset import InteractionDataset, Split
from mde_fast.models import Batch

PARTS = ("train", "valid", "test")
WIDTHS = (7, 4, 5, 6)  # of the modalities' features, all different so that none can pass for another


def tiny_dataset(
    seed: int = 0,
    *,
    num_users: int = 12,
    num_items: int = 9,
    modalities: tuple[str, ...] = ("image", "text"),
    density: float = 0.4,
) -> InteractionDataset:
    """Random interactions and features; user 0 has no interaction and the last item is never trained on.

    Every split has an interaction, the last item is held out for somebody, and no pair is in two splits.
    """
    rng = np.random.default_rng(seed)
    pairs = [(user, item) for user in range(1, num_users) for item in range(num_items - 1) if rng.random() < density]
    part = rng.choice(3, size=len(pairs), p=(0.6, 0.2, 0.2))
    part[:3] = 0, 1, 2
    splits = {name: [pair for pair, own in zip(pairs, part) if own == number] for number, name in enumerate(PARTS)}
    splits["test"].append((pairs[0][0], num_items - 1))
    return InteractionDataset.build(
        "tiny",
        {name: Split(*np.array(chosen, dtype=np.int64).reshape(-1, 2).T) for name, chosen in splits.items()},
        num_users=num_users,
        num_items=num_items,
        features={
            name: rng.standard_normal((num_items, width)).astype(np.float32) for name, width in zip(modalities, WIDTHS)
        },
    )


def random_batch(dataset: InteractionDataset, count: int = 40, seed: int = 0) -> Batch:
    """Triples of any user and any items, with bits of their own."""
    generator = torch.Generator().manual_seed(seed)
    limits = (dataset.num_users, dataset.num_items, dataset.num_items, 2**62)
    return Batch(*(torch.randint(limit, (count,), generator=generator) for limit in limits))
