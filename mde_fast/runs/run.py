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
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..errors import InputError
from ..files import Checkpoints, Folder
from ..world import ALONE, World
from .config import Config, read_config

logger = logging.getLogger("mde_fast")


class RunFolder(Folder):
    """The files of one run.

    Attributes:
        checkpoints: its checkpoints, ``last`` and ``best``.
    """

    def __init__(self, path: str | Path, world: World = ALONE):
        super().__init__(path, writes=world.is_first)
        self.checkpoints = Checkpoints(self, world)

    @classmethod
    def create(cls, path: str | Path, world: World = ALONE) -> RunFolder:
        """A folder for a new run, which it becomes with its config.yaml.

        Raises:
            InputError: the folder holds a run already, or cannot be written.
        """
        cls.require_new(path)
        run = cls(path, world)
        run.checkpoints.make("the run folder")
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
    def open(cls, path: str | Path, world: World = ALONE) -> RunFolder:
        """An existing run.

        Raises:
            InputError: there is none at this path.
        """
        run = cls(path, world)
        if not run.has("config.yaml"):
            raise InputError(f"{path}: not a run folder (no config.yaml in it); give the --output of a training run")
        return run

    def config(self) -> Config:
        """Its options, whichever version wrote them."""
        config, notes = read_config(self.path / "config.yaml")
        for note in notes:
            logger.info("%s", note)
        return config

    def remove_leftovers(self) -> None:
        super().remove_leftovers()
        self.checkpoints.remove_leftovers()
