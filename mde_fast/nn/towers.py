"""From an item's raw features to its embedding, one tower per modality (the MLP_m of the inputs)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..kernels import project_rows
from ..kernels.project_rows.precision import FEATURE_DTYPES, products_in, sum_over_rows
from ..kernels.support import accumulation_dtype
from ..world import ALONE, ROWS, World
from .factors import Factors
from .linear import linear

__all__ = ["FEATURE_DTYPES", "FeatureTower", "feature_towers"]

NEGATIVE_SLOPE = 0.01


class FeatureTower(nn.Module):
    """Linear(F, hidden) - LeakyReLU(0.01) - Linear(hidden, D), or one Linear(F, D) where nothing is ``hidden``.

    The tower computes in ``precision``; parameters and result are float32. Features are frozen and stored in it too,
    unless they are trained. Of features that are factors Q B the tower holds Q (I, r) for them, and its first layer
    multiplies that by W B^T (hidden, r), made in float32: the parameter W (hidden, F) and its gradient are as ever.
    """

    features: Tensor

    def __init__(
        self,
        features: Tensor | Factors,
        dim: int,
        *,
        hidden: int | None = None,
        initial: str = "xavier",
        precision: str,
        generator: torch.Generator,
        trained: bool = False,
        bias: bool = True,
        world: World = ALONE,
    ):
        """
        Args:
            features: (I, F), any floating type, or their factors.
            dim: D.
            hidden: width between two layers; None for one.
            initial: weights: ``xavier``, Xavier's normal distribution, or ``pytorch``, what PyTorch gives a Linear.
            precision: one of FEATURE_DTYPES.
            generator: of the initial parameters.
            trained: the features, no factors, are parameters themselves, and learn.
            bias: that the first layer has one.
            world: the processes among whom the items are divided; each has parameters and products of its own.
        """
        super().__init__()
        self.precision, self.world, self.num_items = precision, world, features.shape[0]
        world.columns(dim)
        self.trained_in_bf16 = trained and precision == "bf16"
        self.right = nn.Identity() if isinstance(features, Tensor) else RightFactor(features.right)
        left = features if isinstance(features, Tensor) else features.left
        if trained:
            own = left if world.size == 1 else left[world.rows(len(left))]
            self.features = world.piece(own.float().clone(), ROWS)
        else:
            self.register_buffer("features", world.own(left, ROWS).to(FEATURE_DTYPES[precision]), persistent=False)
        self.first = linear(features.shape[1], dim if hidden is None else hidden, generator)
        if not bias:
            del self.first.bias
            self.first.register_buffer("bias", torch.zeros(self.first.out_features), persistent=False)
        self.second = None if hidden is None else linear(hidden, dim, generator)
        for layer in (self.first, self.second):
            if layer is not None and initial == "xavier":
                # Biases keep PyTorch's small random values: an item without content must not start as a zero row, whose
                # direction, and so whose gradient, is undefined.
                nn.init.xavier_normal_(layer.weight, generator=generator)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(I, D) float32, or (B, D) of the items (B,) alone; of several processes each gets its columns of them."""
        if self.world.size == 1:
            return self._project(items)
        if items is None:
            return self.world.to_columns(self._project(None), self.num_items)
        own = self.world.rows(self.num_items)
        places = torch.nonzero((items >= own.start) & (items < own.stop)).flatten()
        projected = self._project(items[places] - own.start)
        rows = projected.new_zeros(len(items), projected.shape[1]).index_copy(0, places, projected)
        return self.world.columns_of_sum(rows)

    def _project(self, items: Tensor | None) -> Tensor:
        """(I, D), or (B, D) of some, of the items whose features are here."""
        weight, bias, *second = self._parameters_here()
        if items is not None and self.second is None:
            return project_rows(self.features, items, weight, bias, precision=self.precision)
        if items is None and self.precision == "fp32":
            out = project_rows(self.features, None, weight, bias)
        else:
            features = self.features if items is None else F.embedding(items, self.features)
            out = self._layer(features.bfloat16() if self.trained_in_bf16 else features, weight, bias)
        if self.second is not None:
            # In place: only the result is needed to go back, and it is as large as half of H.
            out = self._layer(F.leaky_relu(out, NEGATIVE_SLOPE, inplace=True), *second)
        return out.to(self.first.weight.dtype)

    def _parameters_here(self) -> tuple[Tensor, ...]:
        """Weight and bias of each layer, on the way to rows that this process alone has."""
        second = () if self.second is None else (self.second.weight, self.second.bias)
        return self.world.shared(self.right(self.first.weight), self.first.bias, *second)

    def _layer(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A layer in x's precision; its parameters, and so Adam, keep theirs."""
        if x.is_cuda and x.dtype == torch.bfloat16:
            return _LinearIn.apply(x, weight, bias, "bf16")
        if self.precision == "tf32":
            return _LinearIn.apply(x, weight, bias, "tf32")
        return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


class RightFactor(nn.Module):
    """W B^T, what the first layer's weight W is to Q instead of to Q B."""

    def __init__(self, blocks: tuple[Tensor | int, ...]):
        """``blocks`` of B's diagonal, as :class:`mde_fast.nn.factors.Factors` has them."""
        super().__init__()
        self.widths = [block if isinstance(block, int) else block.shape[1] for block in blocks]
        for number, block in enumerate(blocks):
            self.register_buffer(f"block{number}", None if isinstance(block, int) else block, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """(hidden, R) of W (hidden, F)."""
        blocks = [getattr(self, f"block{number}") for number in range(len(self.widths))]
        parts = [
            part if block is None else part @ block.T for part, block in zip(weight.split(self.widths, dim=1), blocks)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def feature_towers(features: Mapping[str, Tensor | Factors], dim: int, **settings: Any) -> nn.ModuleList:
    """A :class:`FeatureTower` of those settings for each modality of ``features``, (I, F_m), in their order."""
    return nn.ModuleList(FeatureTower(matrix, dim, **settings) for matrix in features.values())


class _LinearIn(torch.autograd.Function):
    """``F.linear`` in x's type, its three products in TF32 or, of bfloat16, with sums in float32 as a CPU has them.

    No other product of the process is made so. Gradients of parameters stay float32: by default a GPU may add up
    in bfloat16 what it cuts a long sum into, and the weight's gradient is a sum over items.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, precision: str) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.precision = precision
        with products_in(precision):
            return F.linear(x, weight, bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        with products_in(ctx.precision):
            grad_x = grad @ weight if ctx.needs_input_grad[0] else None
            grad_weight = sum_over_rows(grad, x, ctx.precision)
        return grad_x, grad_weight, grad.sum(0, dtype=accumulation_dtype(grad.dtype)), None
