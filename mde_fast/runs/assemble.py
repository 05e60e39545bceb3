"""From options to the parts of a run: dataset, graphs, model."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch

from ..data import load_dataset
from ..data.dataset import InteractionDataset
from ..data.options import DataOptions
from ..errors import InputError
from ..files.places import user_cache, user_path
from ..graphs import GraphCache, GraphStore
from ..kernels import dispatch
from ..models import Inputs, Model, find_model, model_names
from ..nn.feature_rank import FeatureRank
from ..training.memory import keep_freed_memory
from ..training.options import TrainingOptions
from ..training.precision import product_times, slower_than_float32
from ..world import ALONE, World, local_rank
from .config import Config, with_options

logger = logging.getLogger("mde_fast")


def make_dataset(config: Config, *, with_features: bool = True, world: World = ALONE) -> InteractionDataset:
    """The dataset that a configuration names; its features only when the model needs them.

    Several processes map files of features instead of reading them: each keeps its rows alone.
    """
    options = config.data
    return load_dataset(
        options.dataset,
        data_dir=options.data_dir,
        features=options.features or None,
        split=options.split,
        split_ratios=options.split_ratios,
        split_seed=options.split_seed,
        user_column=options.user_column,
        item_column=options.item_column,
        time_column=options.time_column,
        split_column=options.split_column,
        require_real=options.require_real,
        use_features=with_features and find_model(config.model).min_modalities > 0,
        map_features=world.size > 1,
    )


def make_device(options: TrainingOptions, world: World = ALONE) -> torch.device:
    """The device that the options ask for. The process's operators run as they say from now on, on a GPU on that one.

    Of several processes each takes the GPU of its number on its machine.

    Raises:
        InputError: it is not there, or cannot compute in the precision or with the operators asked for.
    """
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise InputError(f"device: {options.device} is not auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device: no CUDA device is available here; use --device cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"device: {name} does not exist, this machine has {torch.cuda.device_count()} CUDA device(s)")
    if options.precision == "tf32" and kind == "cpu":
        raise InputError("precision: tf32 exists on CUDA devices only; use fp32 or bf16")
    if kind == "cuda" and world.size > 1:
        if number:
            raise InputError(f"device: {options.device} is one GPU for {world.size} processes; name cuda, or cpu")
        number, there = str(local_rank()), torch.cuda.device_count()
        if local_rank() >= there:
            raise InputError(
                f"device: {there} GPU(s) for more processes here; use --nproc-per-node {there}, or --device cpu"
            )
        name = f"cuda:{number}"
    if number:
        torch.cuda.set_device(int(number))  # streams, graphs and kernels go to the current device
    dispatch.prefer(None if options.operators == "auto" else options.operators)
    try:
        dispatch.implementation(torch.device(name))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{error}; --operators auto takes what is fastest here") from None
    return torch.device(name)


def require_fast_precision(options: TrainingOptions, device: torch.device) -> None:
    """Refuse a precision that is slower than float32, unless it is insisted on.

    Raises:
        InputError: with the two times.
    """
    if not options.slow_precision and slower_than_float32(options, device):
        raise InputError(
            f"precision: bf16 is slower than float32 on this CPU ({product_times()}); use --precision fp32, or insist "
            "with --slow-precision"
        )


def without_slow_precision(config: Config) -> Config:
    """The same options in float32 where that is faster; a line says so, once."""
    if config.training.slow_precision or not slower_than_float32(config.training, make_device(config.training)):
        return config
    _say_float32_is_used()
    return with_options(config, precision="fp32")


@functools.cache
def _say_float32_is_used() -> None:
    logger.info("float32 is used: bf16 is slower on this CPU (%s); --slow-precision keeps it", product_times())


def make_model(
    config: Config,
    dataset: InteractionDataset,
    device: torch.device,
    *,
    cache: GraphCache | None = None,
    world: World = ALONE,
) -> Model:
    """The model with its initial parameters, which depend on the seed alone, on a device.

    Args:
        cache: where finished graphs and factors are kept; default: the folder that ``config`` names.
        world: the processes that train it, each of which has its part.

    Raises:
        InputError: the dataset lacks what the model needs.
    """
    model = find_model(config.model)
    modalities = tuple(dataset.features)
    if len(modalities) < model.min_modalities:
        raise InputError(
            f"{dataset.name}: {config.model} needs features of {_count(model.min_modalities)} or more, found "
            f"{', '.join(modalities) or 'none'}; name the files with --features image=...,text=..."
        )
    if config.training.storage == "bf16" and not model.node_tables:
        able = ", ".join(name for name in model_names() if find_model(name).node_tables)
        raise InputError(f"storage: {config.model} is stored in fp32 alone; bf16 is for {able}")
    if world.size > 1 and not model.by_columns:
        raise InputError(
            f"{config.model}: mixes the columns of its embeddings, so {world.size} processes cannot divide them; train "
            f"it without torchrun, or choose {', '.join(name for name in model_names() if find_model(name).by_columns)}"
        )
    if world.size > 1 and config.training.storage == "bf16":
        raise InputError("storage: bf16 rounds by chance and is for one process; leave torchrun or --storage out")
    keep_freed_memory()  # graph building and, on a CPU, training allocate the same large blocks over and over
    cache = cache or GraphCache(graph_folder(config.data))
    inputs = Inputs(
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        features={name: torch.from_numpy(matrix).float() for name, matrix in dataset.features.items()},
        graphs=GraphStore(dataset.train_matrix, dataset.features, cache, device),
        precision=config.training.precision,
        generator=torch.Generator().manual_seed(config.training.seed),
        rank=FeatureRank(config.training.feature_rank, cache),
        world=world,
    )
    made = None
    for turn in (True, False) if world.size > 1 else (True,):  # the first fills the cache that the others read
        with world.together():
            if world.is_first is turn:
                made = model.build(config.hyper, inputs)
    assert made is not None
    if config.training.storage == "bf16":
        made.store_tables(torch.bfloat16)
    return made.to(device)


def _count(modalities: int) -> str:
    return "one modality" if modalities == 1 else f"{['zero', 'one', 'two', 'three'][modalities]} modalities"


def graph_folder(options: DataOptions) -> Path | None:
    """Where finished graphs are kept, None for nowhere, as where nobody has a home."""
    if options.cache_dir == "none":
        return None
    if options.cache_dir:
        return user_path(options.cache_dir, "--cache-dir")
    cache = user_cache()
    return None if cache is None else cache / "graphs"
