"""Checkpoints: a JSON file that names its tensors' safetensors file, never a pickle.

The tensors are written first, under a name of their own; replacing the JSON file is the one step that makes the new
checkpoint the current one of its kind.

Of several processes each writes its part of the tensors into a file of its own; when all are there the first process
writes the JSON file, which names them in order. Any number of processes reads them, one of them the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..world import ALONE, Part, World
from .folder import Folder

PartOf = Callable[[str], Part | None]  # which part of a tensor of that name a process has; None for the whole


class Checkpoints:
    """The checkpoints of a training, in ``checkpoints`` below its folder.

    ``last`` is the state after the last epoch, or where the training was interrupted; ``best`` holds the parameters and
    embeddings of the best epoch.
    """

    def __init__(self, owner: Folder, world: World = ALONE):
        self.owner, self.world = owner, world
        self.path = owner.path / "checkpoints"

    def make(self, what: str) -> None:
        """Make the folder where it is not there yet; ``what`` names its owner in a message."""
        if not self.owner.writes:
            return
        with self.owner.writing(what):
            self.path.mkdir(parents=True, exist_ok=True)

    def has(self, kind: str) -> bool:
        return (self.path / f"{kind}.json").is_file()

    def save(
        self, kind: str, state: dict[str, Any], tensors: dict[str, Tensor], part_of: PartOf = lambda name: None
    ) -> None:
        """Make (state, tensors) the current checkpoint of its kind, in one step.

        Raises:
            InputError: on every process, where one of them cannot write.
        """
        stem, world = f"checkpoints/{kind}-{state['epoch']:04d}-{state.get('step', 0):06d}", self.world
        if world.size == 1:
            name = f"{stem}.safetensors"
            self.owner.save_tensors(name, tensors)
            self.owner.write_json(f"checkpoints/{kind}.json", {**state, "tensors": name})
            self._keep_only(kind, [name])
            return
        names = [f"{stem}-{rank + 1}of{world.size}.safetensors" for rank in range(world.size)]
        parts = {name: part for name, tensor in tensors.items() if tensor.ndim and (part := part_of(name))}
        own = {name: tensor for name, tensor in tensors.items() if name in parts or world.is_first}
        with world.together():
            Folder(self.owner.path).save_tensors(names[world.rank], own)
        with world.together():
            self._require_all(names)
            index = {name: [part.dim, part.groups] for name, part in parts.items()}
            self.owner.write_json(f"checkpoints/{kind}.json", {**state, "tensors": names, "parts": index})
            self._keep_only(kind, names)

    def _require_all(self, names: Sequence[str]) -> None:
        for name in names:
            if not self.owner.has(name):
                raise InputError(
                    f"{self.owner.path}: {name} is not there, which another process has written; choose an --output "
                    "that all machines share"
                )

    def load(self, kind: str, part_of: PartOf = lambda name: None) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """(state, tensors) of the current checkpoint of its kind, of which this process takes its parts.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        if not self.has(kind):
            if self.owner.has("metrics.json"):
                raise InputError(
                    f"{self.owner.path}: its {kind} checkpoint (checkpoints/{kind}.json) is gone; restore it"
                )
            raise InputError(f"{self.owner.path}: no {kind} checkpoint; the run ended before its first epoch was over")
        state = self.state(kind)
        files = _files(state)
        parts = {name: Part(*part) for name, part in state.get("parts", {}).items()}

        def own(name: str, whole: Tensor) -> Tensor:
            part = part_of(name) if whole.ndim else None
            return whole if part is None else self.world.own(whole, part)

        whole = self.owner.load_tensors(files[0], lambda name: name not in parts)
        tensors = {name: own(name, tensor) for name, tensor in whole.items()}
        if len(files) == self.world.size > 1 and all(part_of(name) == part for name, part in parts.items()):
            return state, tensors | self.owner.load_tensors(files[self.world.rank], parts.__contains__)
        for name, part in parts.items():  # one after the other: a process has room for one whole tensor beside its own
            pieces = [self.owner.load_tensors(file, name.__eq__)[name] for file in files]
            tensors[name] = own(name, part.joined(pieces))
        return state, tensors

    def state(self, kind: str) -> dict[str, Any]:
        """The state alone, without its tensors."""
        return self.owner.load_json(f"checkpoints/{kind}.json", ("epoch", "tensors"))

    def drop(self, kind: str) -> None:
        """Remove a checkpoint that nobody needs any more; the JSON file first, so that it never names what is gone."""
        (self.path / f"{kind}.json").unlink(missing_ok=True)
        for tensors in self.path.glob(f"{kind}-*.safetensors*"):
            tensors.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was still writing, or had no time to remove."""
        if not self.owner.writes:
            return
        for leftover in self.path.glob("*.tmp*"):
            leftover.unlink(missing_ok=True)
        for kind in ("last", "best"):
            if self.has(kind):
                self._keep_only(kind, _files(self.owner.load_json(f"checkpoints/{kind}.json", ("tensors",))))

    def _keep_only(self, kind: str, names: Sequence[str]) -> None:
        if not self.owner.writes:
            return
        kept = {Path(name).name for name in names}
        for stale in self.path.glob(f"{kind}-*.safetensors*"):
            if stale.name not in kept:
                stale.unlink(missing_ok=True)


def _files(state: dict[str, Any]) -> list[str]:
    """The safetensors files of a checkpoint, a process's each."""
    return [state["tensors"]] if isinstance(state["tensors"], str) else state["tensors"]


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names start with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
