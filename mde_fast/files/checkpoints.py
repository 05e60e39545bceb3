"""Checkpoints: a JSON file that names its tensors' safetensors file, never a pickle.

The tensors are written first, under a name of their own; replacing the JSON file is the one step that makes the new
checkpoint the current one of its kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from .folder import Folder


class Checkpoints:
    """The checkpoints of a training, in ``checkpoints`` below its folder.

    ``last`` is the state after the last epoch, or where the training was interrupted; ``best`` holds the parameters and
    embeddings of the best epoch.
    """

    def __init__(self, owner: Folder):
        self.owner = owner
        self.path = owner.path / "checkpoints"

    def make(self, what: str) -> None:
        """Make the folder where it is not there yet; ``what`` names its owner in a message."""
        with self.owner.writing(what):
            self.path.mkdir(parents=True, exist_ok=True)

    def has(self, kind: str) -> bool:
        return (self.path / f"{kind}.json").is_file()

    def save(self, kind: str, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Make (state, tensors) the current checkpoint of its kind, in one step."""
        name = f"checkpoints/{kind}-{state['epoch']:04d}-{state.get('step', 0):06d}.safetensors"
        self.owner.save_tensors(name, tensors)
        self.owner.write_json(f"checkpoints/{kind}.json", {**state, "tensors": name})
        self._keep_only(kind, name)

    def load(self, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """(state, tensors) of the current checkpoint of its kind.

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
        return state, self.owner.load_tensors(state["tensors"])

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
        for leftover in self.path.glob("*.tmp*"):
            leftover.unlink(missing_ok=True)
        for kind in ("last", "best"):
            if self.has(kind):
                self._keep_only(kind, self.owner.load_json(f"checkpoints/{kind}.json", ("tensors",))["tensors"])

    def _keep_only(self, kind: str, name: str) -> None:
        for stale in self.path.glob(f"{kind}-*.safetensors*"):
            if stale.name != Path(name).name:
                stale.unlink(missing_ok=True)


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names start with ``prefix``, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
