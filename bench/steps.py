"""The training step that benchmarks measure, as training makes it."""

from __future__ import annotations

import torch

from mde_fast.data.dataset import InteractionDataset
from mde_fast.kernels import NegativeTable, random_bits
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import Config
from mde_fast.training.adam import make_optimizer
from mde_fast.training.step import CapturedStep, TrainingStep

STEP_REPLAYED, STEP_EAGER = "a step that is a CUDA graph", "an eager step"  # how steps are launched on a GPU


def make_step(
    config: Config,
    dataset: InteractionDataset,
    device: torch.device,
    *,
    captured: bool = False,
    capturable: bool = False,
) -> TrainingStep:
    """A step of a configuration's model at the beginning of its first epoch.

    ``captured``: as a CUDA graph. ``capturable``: one that a timer can make a CUDA graph of, though it is eager.
    """
    model = make_model(config, dataset, device)
    optimizer = make_optimizer(model, config.training, capturable=captured or capturable)
    model.begin_epoch(torch.Generator(device).manual_seed(0))
    users, items = (torch.from_numpy(column).to(device) for column in (dataset.train.users, dataset.train.items))
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(0)).to(device)
    users, items = users[order], items[order]
    table = NegativeTable.build(users, items, dataset.num_users, dataset.num_items)
    kind = CapturedStep if captured else TrainingStep
    step = kind(model, optimizer, table, len(users), config.training.train_batch_size)
    step.begin_epoch(users, items, random_bits(users))
    return step
