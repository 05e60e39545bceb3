"""Adam, for parameters of which some are stored in bfloat16."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..kernels import adam_step
from .options import TrainingOptions


def make_optimizer(model: nn.Module, options: TrainingOptions, *, capturable: bool = False) -> torch.optim.Optimizer:
    """Adam for a training; ``capturable`` in a CUDA graph."""
    groups = [{"params": list(model.parameters())}]  # a group may be empty, where nothing is learned
    if options.storage == "bf16":
        return StoredAdam(groups, lr=options.learning_rate)
    return torch.optim.Adam(groups, lr=options.learning_rate, fused=True, capturable=capturable)


class StoredAdam(torch.optim.Optimizer):
    """``torch.optim.Adam`` by :func:`mde_fast.kernels.adam_step`: a parameter's moments are stored as it is.

    The state has the names that torch's has, so that checkpoints look alike. It may be captured in a CUDA graph.
    """

    def __init__(self, parameters: Any, lr: float):
        # "fused" tells torch to keep steps as float32 numbers on the parameters' device when it loads a state.
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "fused": True})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """``closure`` is there for torch's signature; none is taken."""
        if closure is not None:
            raise ValueError("closure: this optimiser takes none; call backward before step")
        stream = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group, stream)
                stream += 1

    def _step(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any], stream: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        adam_step(
            parameter,
            gradient,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["step"],
            learning_rate=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            stream=stream,
        )
