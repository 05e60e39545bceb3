"""What an accelerated model's owner reads: what was replaced, what was left, and the gain where it was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Replaced:
    """A sparse matrix or a layer that runs on our operator.

    Attributes:
        name: attribute path in the model; "made from" it for matrices that the model makes of another's edges.
        kind: layout of the matrix, or class of the layer.
        shape, edges: of the matrix; None for a layer.
        symmetric: None until a backward pass asked.
        products: how often it was multiplied by our operator so far.
        made: how many matrices the model made from an accelerated one within its steps; ``edges`` are the last one's.
        torch_ms, ours_ms: one product forward and backward, once measured.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    edges: int | None
    symmetric: bool | None
    products: int
    torch_ms: float | None = None
    ours_ms: float | None = None
    made: int = 0

    @property
    def gain(self) -> float | None:
        """How many times faster than PyTorch, or None where it was not measured."""
        return None if self.torch_ms is None or self.ours_ms is None else self.torch_ms / self.ours_ms

    def __str__(self) -> str:
        size = "" if self.shape is None else f" {self.shape[0]:,} x {self.shape[1]:,}, {self.edges:,} edges"
        symmetric = {True: ", symmetric", False: ", not symmetric", None: ""}[self.symmetric]
        made = "" if not self.made else f" in the last of {self.made:,}"
        line = f"  {self.name}: {self.kind}{size}{made}{symmetric}; {self.products:,} products"
        if self.gain is None:
            return line
        return f"{line}; forward + backward {self.ours_ms:.2f} ms, PyTorch {self.torch_ms:.2f} ms: {self.gain:.1f}x"


@dataclass(frozen=True)
class Report:
    """Attributes:
    replaced: matrices and layers.
    left: attribute path -> why a sparse tensor or layer found there was left as it is.
    left_to_torch: operation on an accelerated matrix, or layer, with the reason -> how often PyTorch computed it.
    """

    replaced: tuple[Replaced, ...]
    left: dict[str, str]
    left_to_torch: dict[str, int]

    def __str__(self) -> str:
        lines = ["replaced:" if self.replaced else "replaced: nothing was found to replace"]
        lines += map(str, self.replaced)
        if self.left:
            lines += ["left as it is:", *(f"  {name}: {reason}" for name, reason in self.left.items())]
        if self.left_to_torch:
            lines += ["computed by PyTorch:", *(f"  {name}: {times:,}" for name, times in self.left_to_torch.items())]
        return "\n".join(lines)
