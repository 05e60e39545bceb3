"""Finished graphs, and other tensors that take a while, on disk: found again by a hash of what they were made from."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..kernels import CSRGraph

logger = logging.getLogger("mde_fast.graphs")

FORMAT = "1"  # part of every key: raise it when a builder's result changes


class GraphCache:
    """Keeps graphs and other tensors as safetensors files named by a hash of contents and settings.

    A file that cannot be read is made anew; a folder that cannot be written only costs time at the next start, and
    both are logged.
    """

    def __init__(self, folder: Path | None):
        """``folder`` None keeps nothing."""
        self.folder = folder

    def graph(self, build: Callable[[], CSRGraph], what: str, *key) -> CSRGraph:
        """The CSR graph that ``build`` returns, which must depend on ``key`` alone."""

        def to_tensors() -> dict[str, torch.Tensor]:
            graph = build()
            tensors = {"rowptr": graph.rowptr, "columns": graph.columns, "shape": torch.tensor(graph.shape)}
            return tensors if graph.values is None else tensors | {"values": graph.values}

        tensors = self.tensors(to_tensors, what, *key)
        return CSRGraph(
            rowptr=tensors["rowptr"],
            columns=tensors["columns"],
            shape=tuple(tensors["shape"].tolist()),
            values=tensors.get("values"),
        )

    def array(self, build: Callable[[], np.ndarray], what: str, *key) -> np.ndarray:
        """The array that ``build`` returns, which must depend on ``key`` alone."""
        return self.tensors(lambda: {"array": torch.from_numpy(build())}, what, *key)["array"].numpy()

    def tensors(self, build: Callable[[], dict[str, torch.Tensor]], what: str, *key) -> dict[str, torch.Tensor]:
        """The tensors that ``build`` returns, which must depend on ``key`` alone."""
        if self.folder is None:
            return build()
        path = self.folder / f"{what.split()[0]}-{_hash(what.split()[0], *key)}.safetensors"
        try:
            return load_file(path)
        except FileNotFoundError:
            logger.info("building: %s", what)
        except (SafetensorError, OSError) as error:
            logger.warning("cached file %s cannot be read (%s); building it anew", path, error)
        tensors = build()
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
            os.replace(temporary, path)
        except (SafetensorError, OSError) as error:
            if os.path.isdir(self.folder):  # which raises nothing where not even looking is allowed
                temporary.unlink(missing_ok=True)
            logger.warning("not cached in %s (%s)", self.folder, error)
        return tensors


class GraphsInMemory(GraphCache):
    """Keeps graphs in memory besides, for a process that trains many models on one dataset."""

    def __init__(self, folder: Path | None):
        super().__init__(folder)
        self.made: dict[str, dict[str, torch.Tensor]] = {}

    def tensors(self, build: Callable[[], dict[str, torch.Tensor]], what: str, *key) -> dict[str, torch.Tensor]:
        name = _hash(what, *key)
        if name not in self.made:
            self.made[name] = super().tensors(build, what, *key)
        return self.made[name]


def _hash(*parts) -> str:
    digest = xxhash.xxh3_128(FORMAT.encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
