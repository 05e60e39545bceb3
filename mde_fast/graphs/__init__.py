"""Graphs that models pass messages over: user-item, user co-occurrence, item-item by content."""

from .cache import GraphCache
from .store import GraphStore

__all__ = ["GraphCache", "GraphStore"]
