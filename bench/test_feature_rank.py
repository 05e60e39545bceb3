"""A training step with all columns of the image features, and with fewer of them (``--feature-rank``), on Baby.

Two kinds of image features: those of the dataset, and the same with noise in every column, so that all are independent:
only there a rank means the same in every dataset.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from bench.capture import AsCalled
from bench.steps import STEP_REPLAYED, make_step
from bench.timing import interleave, synchronised
from mde_fast.data import load_dataset
from mde_fast.data.dataset import InteractionDataset
from mde_fast.nn.feature_rank import FeatureRank
from mde_fast.nn.towers import FeatureTower
from mde_fast.runs.config import make_config

DATASET = "baby"
RANKS = {"as they are": ("full", "exact"), "every column independent": ("full", "exact", "1024", "512", "256")}
MODELS = ("mde", "dualgnn", "mmgcn", "vbpr")
NOISE = 1e-3  # of the standard deviation of the features: that of float16 files is half as much


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where graphs and factors are kept between models."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=RANKS)
def features(request) -> tuple[str, InteractionDataset]:
    dataset = load_dataset(DATASET, data_dir=request.config.getoption("--data-dir"))
    if request.param != "as they are":
        image = dataset.features["image"]
        noise = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
        dataset.features["image"] = image + np.float32(NOISE * image.std()) * noise
    return request.param, dataset


@pytest.mark.parametrize("precision", ("fp32", "bf16"))
@pytest.mark.parametrize("model", MODELS)
def test_feature_rank(benchmark, features, folder, device, seconds, model, precision):
    kind, dataset = features
    about = {"model": model, "dataset": DATASET, "precision": precision, "cache_dir": str(folder)}
    steps = {}
    for rank in RANKS[kind]:
        config = make_config({**about, "feature_rank": rank})
        steps[rank] = make_step(config, dataset, device, captured=device.type == "cuda")
    variants = {rank: AsCalled(lambda step=step: step(0), STEP_REPLAYED) for rank, step in steps.items()}
    timings = interleave(variants, device, seconds=seconds * len(steps))
    benchmark.extra_info.update(
        model=model,
        dataset=DATASET,
        data=dataset.data,
        precision=precision,
        features=kind,
        instructions=f"{torch.backends.cpu.get_cpu_capability()}, oneDNN {os.environ.get('ONEDNN_MAX_CPU_ISA', 'any')}",
        ms={rank: timing.as_dict() for rank, timing in timings.items()},
        columns={rank: columns(step.model) for rank, step in steps.items()},
    )
    benchmark.pedantic(synchronised(variants["full"], device), rounds=3)


def columns(model: torch.nn.Module) -> int:
    """Columns that the first layers of a model's towers multiply, of all modalities."""
    return sum(part.features.shape[1] for part in model.modules() if isinstance(part, FeatureTower))


@pytest.mark.parametrize("value", ("exact", "auto:0.1", "256"))
def test_finding_the_rank(benchmark, features, value):
    """Seconds that the image's factors take when nothing is cached."""
    kind, dataset = features
    image = torch.from_numpy(dataset.features["image"])
    found = FeatureRank(value)("image", image)
    benchmark.extra_info.update(
        features=kind,
        value=value,
        shape=tuple(image.shape),
        rank=found.shape[1] if found is image else found.left.shape[1],
    )
    benchmark.pedantic(FeatureRank(value), args=("image", image), rounds=1)
