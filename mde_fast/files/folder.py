"""A folder whose files are replaced whole or not at all, so that an interruption leaves something usable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .. import __version__
from ..errors import InputError

VERSION_KEY = "mde_fast"  # under which every file says which version wrote it


class Folder:
    """Reads and writes files; what cannot be read or written is an :class:`InputError` that names it."""

    def __init__(self, path: str | Path, *, writes: bool = True):
        """``writes`` False for a process beside the one that writes for all: then nothing here changes a file."""
        self.path, self.writes = Path(path), writes

    def make(self, what: str = "the folder") -> None:
        """Make the folder where it is not there yet; ``what`` names it in a message."""
        if not self.writes:
            return
        with self.writing(what):
            self.path.mkdir(parents=True, exist_ok=True)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def write(self, name: str, write: Callable[[Path], Any]) -> None:
        """Replace a file as a whole by what ``write`` writes to the path that it is given."""
        if not self.writes:
            return
        with self.writing(name):
            _replace(self.path / name, write)

    def write_text(self, name: str, content: str) -> None:
        self.write(name, lambda path: path.write_text(content, encoding="utf-8"))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Values that JSON does not know, such as dates, become their text."""
        stamped = {VERSION_KEY: __version__, **content}
        self.write_text(name, json.dumps(stamped, indent=2, ensure_ascii=False, default=str) + "\n")

    def write_lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        """JSON lines, a row each, as :meth:`append_line` writes them."""
        self.write_text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def append_line(self, name: str, row: dict[str, Any]) -> None:
        if not self.writes:
            return
        with self.writing(name), open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save_array(self, name: str, array: np.ndarray) -> None:
        """As a ``.npy`` file, of plain numbers."""

        def write(path: Path) -> None:
            with open(path, "wb") as file:  # np.save would add an ending to the name
                np.save(file, array, allow_pickle=False)

        self.write(name, write)

    def save_tensors(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """As a safetensors file."""
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self.write(name, lambda path: save_file(contiguous, path, metadata={VERSION_KEY: __version__}))

    def load_tensors(self, name: str, wanted: Callable[[str], bool] = lambda key: True) -> dict[str, torch.Tensor]:
        """Those tensors of a safetensors file whose names are ``wanted``."""
        path = self.path / name
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                return {key: file.get_tensor(key) for key in names if wanted(key)}
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

    def remove_leftovers(self) -> None:
        """Remove what a killed process was still writing."""
        if not self.writes:
            return
        for leftover in self.path.glob("*.tmp*"):
            leftover.unlink(missing_ok=True)

    @contextmanager
    def writing(self, what: str):
        """Inside, a failure to write becomes one line that names the folder and ``what``."""
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
