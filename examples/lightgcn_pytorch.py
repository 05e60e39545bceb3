"""A plain PyTorch LightGCN before and after mde_fast: the same model and loop, both timed in one run.

Before: negatives drawn in a Python loop, ``torch.sparse.mm`` on a COO matrix, every score at once in evaluation.
After: ``mde_fast.accelerate(model)``, ``sample_negatives`` and ``Evaluator``; nothing else changes.

    python examples/lightgcn_pytorch.py data/clothing   # a folder of MMRec (*.inter) or LightGCN (train.txt, test.txt)
    python examples/lightgcn_pytorch.py                 # generated interactions
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import mde_fast
from mde_fast.data import InteractionDataset, Split, load_dataset
from mde_fast.data.dataset import STAND_IN
from mde_fast.errors import InputError
from mde_fast.kernels import NegativeTable, sample_negatives
from mde_fast.ranking.evaluator import Evaluator

CUTOFF = 20


class LightGCN(nn.Module):
    """User and item embeddings, mean over layers of D^-1/2 A D^-1/2."""

    def __init__(self, dataset: InteractionDataset, width: int, layers: int):
        super().__init__()
        self.sizes, self.layers = (dataset.num_users, dataset.num_items), layers
        self.embedding = nn.Embedding(sum(self.sizes), width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.graph = normalised_adjacency(dataset.train_matrix)

    def forward(self) -> tuple[Tensor, Tensor]:
        layers = [self.embedding.weight]
        for _ in range(self.layers):
            layers.append(torch.sparse.mm(self.graph, layers[-1]))
        return torch.split(torch.stack(layers, dim=1).mean(dim=1), self.sizes)

    def loss(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        user_vectors, item_vectors = self()
        u, i, j = user_vectors[users], item_vectors[positives], item_vectors[negatives]
        regulariser = (u.square().sum() + i.square().sum() + j.square().sum()) / len(users)
        return F.softplus(-(u * (i - j)).sum(1)).mean() + 1e-4 * regulariser


def normalised_adjacency(train: scipy.sparse.csr_matrix) -> Tensor:
    adjacency = scipy.sparse.bmat([[None, train], [train.T, None]], format="csr")
    degrees = np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)
    scale = scipy.sparse.diags(degrees**-0.5)
    coo = (scale @ adjacency @ scale).tocoo()
    indices = torch.from_numpy(np.vstack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(indices, values, coo.shape, check_invariants=False).coalesce()


# ---------------------------------------------------------------------------------------------------------------------
# Before


class PlainSampler:
    """One negative for each interaction: draw until it is not the user's."""

    def __init__(self, dataset: InteractionDataset):
        self.pairs = list(zip(dataset.train.users.tolist(), dataset.train.items.tolist()))
        self.num_items = dataset.num_items
        self.own: dict[int, set[int]] = {}
        for user, item in self.pairs:
            self.own.setdefault(user, set()).add(item)

    def epoch(self) -> tuple[Tensor, Tensor, Tensor]:
        triples = []
        for user, item in self.pairs:
            negative = random.randrange(self.num_items)
            while negative in self.own[user]:
                negative = random.randrange(self.num_items)
            triples.append((user, item, negative))
        random.shuffle(triples)
        return torch.tensor(triples).unbind(1)


class PlainEvaluation:
    """Scores of all items for a hundred users at a time, masked and counted user by user."""

    def __init__(self, dataset: InteractionDataset):
        self.seen, self.relevant = {}, {}
        for where, split in ((self.seen, dataset.train), (self.relevant, dataset.test)):
            for user, item in zip(split.users.tolist(), split.items.tolist()):
                where.setdefault(user, []).append(item)

    def recall(self, user_vectors: Tensor, item_vectors: Tensor) -> float:
        users, total = list(self.relevant), 0.0
        for start in range(0, len(users), 100):
            block = users[start : start + 100]
            scores = user_vectors[block] @ item_vectors.T
            for row, user in enumerate(block):
                scores[row, self.seen.get(user, [])] = -torch.inf
            for user, ranked in zip(block, scores.topk(min(CUTOFF, scores.shape[1])).indices.tolist()):
                total += len(set(ranked) & set(self.relevant[user])) / len(self.relevant[user])
        return total / len(users)


# ---------------------------------------------------------------------------------------------------------------------
# After


class FastSampler:
    def __init__(self, dataset: InteractionDataset):
        self.users, self.items = torch.from_numpy(dataset.train.users), torch.from_numpy(dataset.train.items)
        self.table = NegativeTable.build(self.users, self.items, dataset.num_users, dataset.num_items)

    def epoch(self) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.randperm(len(self.users))
        users = self.users[order]
        return users, self.items[order], sample_negatives(self.table, users)


class FastEvaluation:
    def __init__(self, dataset: InteractionDataset):
        self.evaluator = Evaluator.from_interactions(
            (dataset.train.users, dataset.train.items),
            {"test": (dataset.test.users, dataset.test.items)},
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            cutoffs=(CUTOFF,),
        )

    def recall(self, user_vectors: Tensor, item_vectors: Tensor) -> float:
        return self.evaluator(user_vectors, item_vectors, "test")[f"recall@{CUTOFF}"]


# ---------------------------------------------------------------------------------------------------------------------
# The loop, the same for both


@dataclass
class Seconds:
    """Of an epoch, on average."""

    sampling: float = 0.0
    training: float = 0.0
    evaluation: float = 0.0

    @property
    def total(self) -> float:
        return self.sampling + self.training + self.evaluation


def train(name: str, model: LightGCN, sampler, evaluation, epochs: int, batch_size: int) -> tuple[Seconds, float]:
    """Train and evaluate after every epoch; mean times and the last Recall."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    seconds, recall = Seconds(), 0.0
    for epoch in range(epochs):
        started = time.perf_counter()
        triples = sampler.epoch()
        sampled = time.perf_counter()
        batches = list(zip(*(column.split(batch_size) for column in triples)))
        for batch in tqdm(batches, desc=f"{name}, epoch {epoch + 1} of {epochs}", leave=False, disable=None):
            optimizer.zero_grad()
            model.loss(*batch).backward()
            optimizer.step()
        trained = time.perf_counter()
        with torch.no_grad():
            recall = evaluation.recall(*model())
        seconds.sampling += (sampled - started) / epochs
        seconds.training += (trained - sampled) / epochs
        seconds.evaluation += (time.perf_counter() - trained) / epochs
    return seconds, recall


def generated_dataset(num_users: int, seed: int = 0) -> InteractionDataset:
    """Users and items have places on a ring, and users choose items near theirs: something that can be learned."""
    rng = np.random.default_rng(seed)
    num_items, chosen = max(num_users // 2, 30), 12
    place = rng.random(num_users)[:, None] + rng.normal(scale=0.03, size=(num_users, chosen))
    items = (place % 1 * num_items).astype(np.int64)
    users = np.repeat(np.arange(num_users), chosen)
    part = np.tile(np.repeat([0, 1, 2], [chosen - 2, 1, 1]), num_users)
    pairs = np.unique(users * num_items + items.ravel(), return_index=True)[1]
    users, items, part = users[pairs], items.ravel()[pairs], part[pairs]
    splits = {name: Split(users[part == n], items[part == n]) for n, name in enumerate(("train", "valid", "test"))}
    return InteractionDataset.build("generated", splits, num_users=num_users, num_items=num_items, data=STAND_IN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="interactions of MMRec or LightGCN; default: generated ones")
    parser.add_argument("--users", type=int, default=5000, help="of the generated interactions (%(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="trained before and after (%(default)s)")
    parser.add_argument("--layers", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--width", type=int, default=64, help="of the embeddings (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=2048, help="(%(default)s)")
    options = parser.parse_args()
    try:
        if options.folder is None:
            dataset = generated_dataset(options.users)
        else:
            dataset = load_dataset(options.folder, use_features=False, require_real=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if dataset.data == STAND_IN:
        print("The interactions are generated: the times are real, Recall says nothing about any real data.")
    print(*dataset.statistics(), sep="\n")

    results = {}
    for name in ("before", "after"):
        torch.manual_seed(0)
        random.seed(0)
        started = time.perf_counter()
        model = LightGCN(dataset, options.width, options.layers)
        if name == "before":
            sampler, evaluation = PlainSampler(dataset), PlainEvaluation(dataset)
        else:
            acceleration = mde_fast.accelerate(model)
            sampler, evaluation = FastSampler(dataset), FastEvaluation(dataset)
        prepared = time.perf_counter() - started
        results[name] = train(name, model, sampler, evaluation, options.epochs, options.batch_size)
        seconds, recall = results[name]
        print(
            f"{name:>6}: {seconds.total:.2f} s an epoch (sampling {seconds.sampling:.2f}, training "
            f"{seconds.training:.2f}, evaluation {seconds.evaluation:.2f}), prepared in {prepared:.2f} s, "
            f"Recall@{CUTOFF} {recall:.4f} on {dataset.name} ({dataset.data})"
        )
    print(f"faster: {results['before'][0].total / results['after'][0].total:.1f}x an epoch")
    print(acceleration.report())


if __name__ == "__main__":
    main()
