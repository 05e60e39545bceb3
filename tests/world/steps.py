"""Twenty steps of every model that acts by columns, by as many processes as torchrun starts.

    torchrun --nproc-per-node 2 steps.py FOLDER [CASE ...]

writes, for each process, what it saw into ``FOLDER/<processes>-<rank>.json``: name of a case -> losses of every step,
metrics, bytes sent in a step, and a hash of all its bits. Run without torchrun it is the one process to compare with.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import tiny_dataset

from mde_fast.data.dataset import InteractionDataset
from mde_fast.graphs import GraphCache, GraphStore
from mde_fast.kernels import NegativeTable, random_bits
from mde_fast.models import Inputs, Model, find_model
from mde_fast.nn.feature_rank import FeatureRank
from mde_fast.options import Options
from mde_fast.ranking.evaluator import Evaluator
from mde_fast.training.step import TrainingStep
from mde_fast.world import World, opened

STEPS, STEPS_PER_EPOCH = 20, 5
THREE = {"modalities": ("image", "text", "audio")}  # three, so that pairs are not modalities
CASES: dict[str, tuple[str, dict, dict]] = {  # name -> model, its options, of the data
    "lightgcn": ("lightgcn", {}, {}),
    "vbpr": ("vbpr", {"reg_weight": 0.5}, {}),
    "vbpr, squares": ("vbpr", {"regulariser": "squares"}, {}),
    "vbpr, factors": ("vbpr", {}, {"rank": "3"}),
    "mde": ("mde", {"projection_hidden": 16}, {}),
    "mde, three": ("mde", {"projection_hidden": 16, "mda": "abs_cos", "nlt_detach": False}, THREE),
    "mde, sum": ("mde", {"projection": "linear", "fusion": "sum", "mda": "fro", "item_graph": "blend"}, {}),
    "mde, sum of three": ("mde", {"projection": "linear", "fusion": "sum", "fusion_nodes": "users"}, THREE),
    "mde, infonce": ("mde", {"msa": "infonce", "nlt": "free", "fusion_nodes": "users"}, {}),
    "mde, raw rows": ("mde", {"row_normalize": False, "modality_losses": False, "mda_weight": 0.0}, {"rank": "3"}),
    "freedom": ("freedom", {"dropout": 0.3}, {}),
    "freedom, frozen": ("freedom", {"dropout": 0.0, "train_features": False, "item_layers": 2}, THREE),
    "dragon": ("dragon", {"user_graph_filled": True, "user_k": 5}, {}),
    "dragon, one": ("dragon", {"n_mm_layers": 2}, {"modalities": ("text",)}),
    "dualgnn": ("dualgnn", {"user_k": 5}, THREE),
}


def dataset_of(name: str) -> InteractionDataset:
    modalities = CASES[name][2].get("modalities", ("image", "text"))
    return tiny_dataset(3, num_users=53, num_items=37, density=0.15, modalities=modalities)


def options_of(name: str) -> Options:
    model, options, _ = CASES[name]
    return find_model(model).Options(**{"embedding_size": 8, **options})


def batch_size(dataset: InteractionDataset) -> int:
    return -(-len(dataset.train) // STEPS_PER_EPOCH)


def build(world: World, name: str, dataset: InteractionDataset) -> Model:
    return find_model(CASES[name][0]).build(
        options_of(name),
        Inputs(
            num_users=dataset.num_users,
            num_items=dataset.num_items,
            features={modality: torch.from_numpy(matrix) for modality, matrix in dataset.features.items()},
            graphs=GraphStore(dataset.train_matrix, dataset.features, GraphCache(None)),
            precision="fp32",
            generator=torch.Generator().manual_seed(1),
            rank=FeatureRank(CASES[name][2].get("rank", "full")),
            world=world,
        ),
    )


def train(world: World, name: str, dtype: torch.dtype) -> dict:
    dataset = dataset_of(name)
    model = build(world, name, dataset).to(dtype)
    users, items = torch.from_numpy(dataset.train.users), torch.from_numpy(dataset.train.items)
    negatives = NegativeTable.build(users, items, dataset.num_users, dataset.num_items)
    size = batch_size(dataset)
    step = TrainingStep(model, torch.optim.Adam(model.parameters(), lr=0.01, fused=True), negatives, len(users), size)
    generator, losses = torch.Generator().manual_seed(2), []
    sent = world.sent
    for number in range(STEPS):
        if number % STEPS_PER_EPOCH == 0:
            model.begin_epoch(generator)
            order = torch.randperm(len(users), generator=generator)
            bits = random_bits(users, generator)
        first = number % STEPS_PER_EPOCH * size
        chosen = order[first : first + size]
        losses.append(step._optimise(users[chosen], items[chosen], bits[first : first + size]).tolist())
        if number == 0:
            sent = world.sent - sent
    vectors = model.embeddings()
    metrics = Evaluator(dataset, (1, 5, 20), world=world)(*vectors, "valid")
    bits = hashlib.sha256(json.dumps(losses).encode())
    for tensor in (*vectors, *model.state_dict().values()):
        bits.update(tensor.contiguous().numpy().tobytes())
    return {"losses": losses, "metrics": metrics, "sent": sent, "bits": bits.hexdigest()}


def main(folder: Path, *cases: str) -> None:
    torch.set_num_threads(1)
    with opened() as world:
        results = {}
        for name in cases or CASES:
            for dtype in (torch.float32, torch.float64):
                results[f"{name} {dtype}"] = train(world, name, dtype)
        (folder / f"{world.size}-{world.rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
