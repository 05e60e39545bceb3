"""From options to the parts of a run: dataset, graphs, model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..data import load_dataset
from ..data.dataset import InteractionDataset
from ..errors import InputError
from ..graphs import GraphCache
from ..graphs.cache import default_cache_dir
from ..models import MODELS
from ..training.memory import keep_freed_memory
from .config import Config


def make_dataset(config: Config, *, with_features: bool = True) -> InteractionDataset:
    """The dataset that a configuration names; its features only when the model needs them."""
    return load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        features=config.features or None,
        split=config.split,
        split_ratios=config.split_ratios,
        split_seed=config.split_seed,
        user_column=config.user_column,
        item_column=config.item_column,
        time_column=config.time_column,
        split_column=config.split_column,
        require_real=config.require_real,
        use_features=with_features and MODELS[config.model].needs_features,
    )


def make_device(config: Config) -> torch.device:
    """The device that a configuration asks for; a GPU becomes the process's current one.

    Raises:
        InputError: it is not there, or cannot compute in the precision asked for.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise InputError(f"device: {config.device} is not auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("device: no CUDA device is available here; use --device cpu")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(f"device: {name} does not exist, this machine has {torch.cuda.device_count()} CUDA device(s)")
    if config.precision == "tf32" and kind == "cpu":
        raise InputError("precision: tf32 exists on CUDA devices only; use fp32 or bf16")
    if number:
        torch.cuda.set_device(int(number))  # streams, graphs and kernels go to the current device
    return torch.device(name)


def make_model(
    config: Config, dataset: InteractionDataset, device: torch.device, *, cache: GraphCache | None = None
) -> nn.Module:
    """The model with its initial parameters, which depend on the seed alone.

    Args:
        cache: where finished graphs are kept; default: the folder that ``config`` names.

    Raises:
        InputError: the dataset lacks what the model needs.
    """
    keep_freed_memory()  # graph building and, on a CPU, training allocate the same large blocks over and over
    torch.manual_seed(config.seed)
    cache = cache or GraphCache(graph_folder(config))
    return MODELS[config.model].from_dataset(config, dataset, device, cache).to(device)


def graph_folder(config: Config) -> Path | None:
    """Where finished graphs are kept, None for nowhere."""
    if config.cache_dir == "none":
        return None
    return Path(config.cache_dir) if config.cache_dir else default_cache_dir() / "graphs"
