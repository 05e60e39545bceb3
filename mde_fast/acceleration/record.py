"""What happened to a model's products: counted as they run, told on request."""

from __future__ import annotations

from collections import Counter


class Record:
    """Counters that all matrices and layers of an accelerated model share.

    Attributes:
        min_edges: matrices with fewer stay with PyTorch.
        products: name of a matrix or layer -> how often it was multiplied by our operator.
        left_to_torch: operation, with the reason where it is a product -> how often PyTorch computed it.
    """

    def __init__(self, min_edges: int):
        self.min_edges = min_edges
        self.products: Counter[str] = Counter()
        self.left_to_torch: Counter[str] = Counter()

    def count_product(self, name: str) -> None:
        self.products[name] += 1

    def count_left(self, operation: str, reason: str | None) -> None:
        self.left_to_torch[operation if reason is None else f"{operation}: {reason}"] += 1
