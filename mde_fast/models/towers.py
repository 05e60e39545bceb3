"""From an item's raw features to its embedding, one tower per modality (the MLP_m of the inputs)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01


class FeatureTower(nn.Module):
    """Linear(F, hidden) - LeakyReLU(0.01) - Linear(hidden, D), or one Linear(F, D) for ``projection="linear"``.

    The features are frozen. They are stored in ``dtype``, and the tower computes in it; parameters and result are
    float32.
    """

    def __init__(self, features: Tensor, dim: int, *, projection: str, hidden: int, dtype: torch.dtype):
        """``features`` (I, F), any floating type."""
        super().__init__()
        self.register_buffer("features", features.to(dtype), persistent=False)
        self.first = nn.Linear(features.shape[1], hidden if projection == "mlp" else dim)
        self.second = nn.Linear(hidden, dim) if projection == "mlp" else None
        for layer in (self.first, self.second):
            if layer is not None:
                # Biases keep PyTorch's small random values: an item without content must not start as a zero row, whose
                # direction, and so whose gradient, is undefined.
                nn.init.xavier_normal_(layer.weight)

    def forward(self) -> Tensor:
        """(I, D) float32."""
        out = _linear(self.features, self.first)
        if self.second is not None:
            # In place: only the result is needed to go back, and it is as large as half of H.
            out = _linear(F.leaky_relu(out, NEGATIVE_SLOPE, inplace=True), self.second)
        return out.to(self.first.weight.dtype)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """The layer in x's precision; its parameters, and so Adam, keep theirs."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
