"""What happened to a model's products: counted as they run, told on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

# A matrix made within a step needs so many times the edges: its graph serves a few products. docs/backend.md has the
# times from which this follows.
ONCE = 10


@dataclass
class Made:
    """Matrices that a model makes from an accelerated one: how many so far, and the last one's shape and edges."""

    times: int = 0
    shape: tuple[int, ...] = ()
    edges: int = 0


class Record:
    """Counters that all matrices and layers of an accelerated model share.

    Attributes:
        min_edges: matrices with fewer stay with PyTorch.
        min_edges_once: the same for matrices that are made within a step.
        made: name of such matrices -> what is known of them.
        products: name of a matrix or layer -> how often it was multiplied by our operator.
        left_to_torch: operation, with the reason where it is a product -> how often PyTorch computed it.
    """

    def __init__(self, min_edges: int):
        self.min_edges = min_edges
        self.min_edges_once = ONCE * min_edges
        self.made: dict[str, Made] = {}
        self.products: Counter[str] = Counter()
        self.left_to_torch: Counter[str] = Counter()

    def count_product(self, name: str) -> None:
        self.products[name] += 1

    def count_made(self, name: str, shape: tuple[int, ...], edges: int) -> None:
        made = self.made.setdefault(name, Made())
        made.times, made.shape, made.edges = made.times + 1, shape, edges

    def count_left(self, operation: str, reason: str | None) -> None:
        self.left_to_torch[operation if reason is None else f"{operation}: {reason}"] += 1
