"""An index of items by inner product, of faiss, and how many of the exact best items it finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..files import Folder
from ..kernels import topk

FILE = "items.faiss"
KINDS = ("flat", "hnsw", "none")
USERS_MEASURED = 2_000
NEIGHBOURS, BUILT_WITH, SEARCHED_WITH = 32, 200, 256  # of HNSW: links of a node, candidates when building, searching


def installed() -> bool:
    """Whether faiss is there."""
    return importlib.util.find_spec("faiss") is not None


def require_faiss() -> None:
    """Refuse to go on without it."""
    if not installed():
        raise InputError("--index: faiss is not installed; pip install 'mde_fast[index]', or give --index none")


def build_index(item_vectors: Tensor, shelf: Tensor, kind: str) -> Any:
    """A faiss index that answers with rows of ``item_vectors``.

    Args:
        item_vectors: (I, E) float32.
        shelf: (C,) rows of the items in the index.
        kind: ``flat`` compares with every item, so it is exact; ``hnsw`` follows a graph of near items (Malkov and
            Yashunin 2018), which finds most of them in less time.
    """
    import faiss

    width = item_vectors.shape[1]
    if kind == "flat":
        inner = faiss.IndexFlatIP(width)
    else:
        inner = faiss.IndexHNSWFlat(width, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction, inner.hnsw.efSearch = BUILT_WITH, SEARCHED_WITH
    index = faiss.IndexIDMap(inner)
    index.add_with_ids(item_vectors[shelf].contiguous().numpy(), shelf.numpy())  # pyright: ignore[reportCallIssue]
    return index


def save_index(folder: Folder, index: Any) -> None:
    """Write ``items.faiss``, whole or not at all."""
    import faiss

    data = faiss.serialize_index(index)
    folder.write(FILE, lambda path: path.write_bytes(data.tobytes()))


def measure(path: Path, user_vectors: Tensor, item_vectors: Tensor, shelf: Tensor, k: int) -> dict[str, Any]:
    """Recall of an index in a file: of the exact k best items, the share that it finds, averaged over users.

    Items of equal scores may stand for each other in the exact ranking, but not here: one that was not named is missed.

    Args:
        path: what :func:`save_index` wrote; it is read back.
        user_vectors: (U, E) float32; of many every n-th, at most ``USERS_MEASURED``.
        item_vectors: (I, E) float32.
        shelf: (C,) rows of the items in it.
        k: length of the lists.

    Returns:
        The library and its version, ``recall``, its ``k`` and ``users_measured``.
    """
    import faiss

    index = faiss.read_index(str(path))
    asked = user_vectors[:: max(1, -(-len(user_vectors) // USERS_MEASURED))].contiguous()
    k = min(k, len(shelf))
    _, places = topk(asked, item_vectors[shelf].contiguous(), k)
    _, rows = index.search(asked.numpy(), k)
    exact, found = shelf[places], torch.from_numpy(rows)
    hits = (exact[:, :, None] == found[:, None, :]).any(2)
    return {
        "library": f"faiss {faiss.__version__}",
        "metric": "inner product",
        "recall": hits.double().mean().item(),
        "k": k,
        "users_measured": len(asked),
    }
