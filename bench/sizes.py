"""Training steps of any size, made of interactions and feature widths alone, for predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse
import torch

from mde_fast.data import load_dataset
from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.kernels import NegativeTable, random_bits
from mde_fast.models import Inputs, find_model
from mde_fast.runs.config import Config
from mde_fast.training.step import CapturedStep


class DrawnNeighbours(GraphStore):
    """Graphs of real or drawn interactions, whose items have neighbours drawn by chance instead of found by content.

    Each item still has k of them, so the graphs have as many edges; only who is whose neighbour is not the content's.
    """

    def neighbours(self, modality: str, k: int) -> np.ndarray:
        items = self.train.shape[1]
        drawn = np.random.default_rng(0).integers(items, size=(items, min(k, items)), dtype=np.int32)
        drawn[:, 0] = np.arange(items)
        return drawn


def of_dataset(name: str, data_dir: str | None = None) -> tuple[scipy.sparse.csr_matrix, dict[str, int]]:
    """R (U, I) of a dataset's training interactions, and the width of each modality's features."""
    dataset = load_dataset(name, data_dir=data_dir)
    return dataset.train_matrix, {modality: matrix.shape[1] for modality, matrix in dataset.features.items()}


def of_counts(users: int, items: int, interactions: int) -> scipy.sparse.csr_matrix:
    """R (users, items) with that many training interactions: one or more a user, items long-tailed (Zipf)."""
    rng = np.random.default_rng(0)
    pairs = np.arange(users) * items + _long_tailed(rng, items, users)
    while len(pairs) < interactions:
        missing = interactions - len(pairs)
        more = rng.integers(users, size=missing) * items + _long_tailed(rng, items, missing)
        pairs = np.unique(np.concatenate([pairs, more]))
    ones = np.ones(len(pairs), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (pairs // items, pairs % items)), shape=(users, items))


def _long_tailed(rng: np.random.Generator, items: int, count: int) -> np.ndarray:
    return (items * rng.random(count) ** 3).astype(np.int64)


def make_step(config: Config, train: scipy.sparse.csr_matrix, widths: Mapping[str, int]) -> CapturedStep:
    """The captured step of a configuration's model, on the CPU; features are all 0, for no number is ever needed."""
    users, items = train.shape
    model_type = find_model(config.model)
    with_content = model_type.min_modalities > 0
    features = {name: torch.zeros(items, width) for name, width in widths.items() if with_content}
    inputs = Inputs(
        num_users=users,
        num_items=items,
        features=features,
        graphs=DrawnNeighbours(train, {name: matrix.numpy() for name, matrix in features.items()}, GraphCache(None)),
        precision=config.training.precision,
        generator=torch.Generator().manual_seed(0),
    )
    model = model_type.build(config.hyper, inputs)
    model.begin_epoch(torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.training.learning_rate, fused=True, capturable=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # makes its moments, which it does on the devices that it knows
    pairs = train.tocoo()
    columns = [torch.from_numpy(ids.astype(np.int64)) for ids in (pairs.row, pairs.col)]
    table = NegativeTable.build(*columns, users, items)
    step = CapturedStep(model, optimizer, table, len(columns[0]), config.training.train_batch_size)
    step.begin_epoch(*columns, random_bits(columns[0]))
    return step
