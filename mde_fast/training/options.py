"""How long, how fast and on what a model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..nn.feature_rank import check_feature_rank
from ..options import Options, Range, at_least, option, positive, seed


@dataclass(frozen=True)
class TrainingOptions(Options):
    """What :class:`mde_fast.training.trainer.Trainer` and the device are told."""

    owner: ClassVar[str] = "training"

    epochs: int = option(1000, "at most this many epochs", check=at_least(1))
    minutes: float | None = option(
        None,
        "stop after this many minutes of training, after the epoch that is closest to them; --resume goes on",
        check=positive,
        since="0.2.0",
    )
    stopping_step: int = option(20, "stop after this many evaluations without improvement", check=at_least(1))
    train_batch_size: int = option(2048, "triples in a step", mmrec=("batch_size",), check=at_least(1))
    learning_rate: float = option(
        0.0001, "of Adam", mmrec=("lr",), check=positive, search=Range(0.00003, 0.003, log=True)
    )
    seed: int = option(999, "of everything that is drawn", check=seed)
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    precision: str = option(
        "fp32",
        "of the feature towers' matrix products; the rest is float32",
        choices=("fp32", "tf32", "bf16"),
    )
    slow_precision: bool = option(
        False, "train in bf16 also on a CPU that is slower in it, which is measured", since="0.2.0"
    )
    storage: str = option(
        "fp32",
        "of tables of users and items, their gradients, what passes over the graphs and Adam's moments; bf16 halves "
        "their memory, sums are float32",
        choices=("fp32", "bf16"),
        since="0.2.0",
    )
    operators: str = option(
        "auto",
        "how operators run: auto is Triton kernels on a GPU and native ones on a CPU, but for those that are measured "
        "to be slower than PyTorch's calls; native, torch, reference or triton is kept throughout",
        choices=("auto", "native", "torch", "reference", "triton"),
        since="0.2.0",
    )
    feature_rank: str = option(
        "exact",
        "columns that the towers' first layers multiply: exact, the independent ones where that saves time; "
        "auto:ERROR or a number, fewer of them; full, all",
        check=check_feature_rank,
        since="0.2.0",
        before="full",
    )
    cuda_graph: bool = option(True, "on a GPU, replay the training step as one CUDA graph")
