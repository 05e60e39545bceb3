"""What a training run leaves on disk, written so that an interruption at any moment leaves something usable.

::

    RUN/config.yaml               the resolved options; the folder is a run once it is there
    RUN/log.txt                   what was printed
    RUN/metrics.jsonl             a line per epoch
    RUN/metrics.json              the result
    RUN/curves.png                loss and recall over epochs
    RUN/catalogue.json, .safetensors   external ids and known interactions, for recommendations without the dataset
    RUN/checkpoints/last.json     state after the last epoch (or where the run was interrupted)
    RUN/checkpoints/best.json     parameters and embeddings of the best epoch

A checkpoint is a JSON file that names its tensors' safetensors file. The tensors are written first, under a name of
their own; replacing the JSON file is the one step that makes the new checkpoint the current one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError
from .config import OPTIONS, Config, make_config, read_yaml

RESUMABLE_CHANGES = ("epochs", "device", "data_dir", "cache_dir")  # what may differ when a run goes on


def fixed_options(config: Config) -> dict[str, Any]:
    """The options that a run keeps, as JSON has them; its dataset is recognised by what is in it."""
    kept = {name: value for name, value in asdict(config).items() if name not in (*RESUMABLE_CHANGES, "dataset")}
    return json.loads(json.dumps(kept))


def what_changed(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What is not as it was, for a message; an entry that was not kept then is passed over."""
    changed = [name for name in now if then.get(name, now[name]) != now[name]]
    return "; ".join(f"{name} was {then[name]}, is {now[name]}" for name in changed)


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"

    @classmethod
    def create(cls, path: str | Path) -> RunFolder:
        """A folder for a new run, which it becomes with its config.yaml.

        Raises:
            InputError: the folder holds a run already, or cannot be written.
        """
        cls.require_new(path)
        run = cls(path)
        with run._writing("the run folder"):
            run.checkpoints.mkdir(parents=True, exist_ok=True)
        return run

    @staticmethod
    def require_new(path: str | Path) -> None:
        """Refuse a folder that holds a run or cannot be made, before any work is done."""
        if (Path(path) / "config.yaml").exists():
            raise InputError(f"{path}: holds a run already; continue it with --resume {path} or name another --output")
        place = next(place for place in (Path(path).absolute(), *Path(path).absolute().parents) if place.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"{path}: cannot be made, {place} is no folder one can write to; choose another --output")

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: there is none at this path.
        """
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            raise InputError(f"{path}: not a run folder (no config.yaml in it); give the --output of a training run")
        return run

    def config(self) -> Config:
        options, _ = read_yaml(self.path / "config.yaml")
        missing = [name for name in OPTIONS if name not in options]
        if missing:
            raise InputError(
                f"{self.path}/config.yaml: lacks {', '.join(missing)}; it was cut off or edited, restore it"
            )
        return make_config(options)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was still writing, or had no time to remove."""
        for folder in (self.path, self.checkpoints):
            for leftover in folder.glob("*.tmp*"):
                leftover.unlink(missing_ok=True)
        for kind in ("last", "best"):
            if self.has_checkpoint(kind):
                self._keep_only(kind, self.load_json(f"checkpoints/{kind}.json", ("tensors",))["tensors"])

    def write(self, name: str, write: Callable[[Path], Any]) -> None:
        """Replace a file as a whole by what ``write`` writes to the path that it is given."""
        with self._writing(name):
            _replace(self.path / name, write)

    def write_text(self, name: str, content: str) -> None:
        self.write(name, lambda path: path.write_text(content, encoding="utf-8"))

    def write_json(self, name: str, content: Any) -> None:
        """Values that JSON does not know, such as dates, become their text."""
        self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")

    def write_lines(self, name: str, rows: list[dict]) -> None:
        self.write_text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def append_line(self, name: str, row: dict) -> None:
        with self._writing(name), open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save_tensors(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self.write(name, lambda path: save_file(contiguous, path))

    def load_tensors(self, name: str) -> dict[str, torch.Tensor]:
        path = self.path / name
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read ({error}); the run is incomplete, train it again") from None

    def load_json(self, name: str, entries: tuple[str, ...] = ()) -> Any:
        """The content of a JSON file, which has to be a mapping with these entries if any are named."""
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); the run is incomplete, train it again") from None
        missing = [entry for entry in entries if not isinstance(content, dict) or entry not in content]
        if missing:
            raise InputError(f"{path}: lacks {', '.join(missing)}; it was cut off or edited, restore it or train again")
        return content

    def save_checkpoint(self, kind: str, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        """Make (state, tensors) the current checkpoint of its kind, ``last`` or ``best``, in one step."""
        name = f"checkpoints/{kind}-{state['epoch']:04d}-{state.get('step', 0):06d}.safetensors"
        self.save_tensors(name, tensors)
        self.write_json(f"checkpoints/{kind}.json", {**state, "tensors": name})
        self._keep_only(kind, name)

    def drop_checkpoint(self, kind: str) -> None:
        """Remove a checkpoint that nobody needs any more; the JSON file first, so that it never names what is gone."""
        (self.checkpoints / f"{kind}.json").unlink(missing_ok=True)
        for tensors in self.checkpoints.glob(f"{kind}-*.safetensors*"):
            tensors.unlink(missing_ok=True)

    def _keep_only(self, kind: str, name: str) -> None:
        for stale in self.checkpoints.glob(f"{kind}-*.safetensors*"):
            if stale.name != Path(name).name:
                stale.unlink(missing_ok=True)

    def has_checkpoint(self, kind: str) -> bool:
        return (self.checkpoints / f"{kind}.json").is_file()

    def load_checkpoint(self, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """(state, tensors) of the current checkpoint of its kind."""
        if not self.has_checkpoint(kind):
            if (self.path / "metrics.json").exists():
                raise InputError(f"{self.path}: its {kind} checkpoint (checkpoints/{kind}.json) is gone; restore it")
            raise InputError(f"{self.path}: no {kind} checkpoint; the run ended before its first epoch was over")
        state = self.load_json(f"checkpoints/{kind}.json", ("epoch", "tensors"))
        return state, self.load_tensors(state["tensors"])

    def require_unchanged(self, state: dict[str, Any], config: Config) -> None:
        """Refuse a configuration that is not the one a checkpoint's state was trained with."""
        changed = what_changed(state.get("options", {}), fixed_options(config))
        if changed:
            raise InputError(
                f"{self.path}/config.yaml: was edited after training ({changed}); restore it, or train anew with the "
                "new values"
            )

    @contextmanager
    def _writing(self, what: str):
        try:
            yield
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.path}: cannot write {what} ({reason}); free space or choose a writable folder, "
                "what was saved before is intact"
            ) from None


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the file, flush to disk, then take its place: a reader sees the old file or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
