"""A model of MMRec's as its own trainer runs it, for :mod:`bench.worker`: ``python -m bench.mmrec_model SETTINGS``.

Its configuration, data loaders, trainer and evaluator are its own, from a checkout; see ``tests/mmrec_code.py`` for
what has to be repaired.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.timing import peak_bytes
from bench.worker import serve

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mmrec_code import PLAIN_ON_A_GPU, importable, make_plain  # noqa: E402


class MMRecModel:
    """Requests: ``step``, ``evaluate``, ``peak``."""

    def __init__(self, settings: dict[str, Any]):
        """``settings``: source, name, options, folder (of the data sets' folders), dataset, threads."""
        torch.set_num_threads(settings["threads"])
        self.repairs = importable(Path(settings["source"]))
        self.repairs.__enter__()  # for as long as the process lives
        os.chdir(Path(settings["source"]) / "src")  # its configuration is looked for there
        from common.trainer import Trainer  # type: ignore[import-not-found]
        from utils.configurator import Config  # type: ignore[import-not-found]
        from utils.dataloader import EvalDataLoader, TrainDataLoader  # type: ignore[import-not-found]
        from utils.dataset import RecDataset  # type: ignore[import-not-found]
        from utils.utils import get_model, init_seed  # type: ignore[import-not-found]

        # The names of Baby's files, whatever the data are.
        names = {"data_path": f"{settings['folder']}/", "use_gpu": False, "save_recommended_topk": False}
        config = Config(settings["name"], "baby", {**names, "inter_file_name": "baby.inter", **settings["options"]})
        for name in config["hyper_parameters"]:  # a grid, of which its own runs try one value after the other
            if isinstance(config[name], list):
                config[name] = config[name][0]
        init_seed(config["seed"])
        train, valid, _ = RecDataset(config).split()
        str(train), str(valid)  # the loaders ask for a number that is set when a split is printed
        self.loader = TrainDataLoader(config, train, batch_size=config["train_batch_size"], shuffle=True)
        self.loader.pretrain_setup()
        self.valid = EvalDataLoader(config, valid, additional_dataset=train, batch_size=config["eval_batch_size"])
        model = get_model(settings["name"])(config, self.loader)
        for name in PLAIN_ON_A_GPU.get(settings["name"], ()):
            make_plain(model, name)
        self.trainer = Trainer(config, model)
        model.pre_epoch_processing()
        iter(self.loader)
        geometric = importlib.util.find_spec("torch_geometric") is not None
        self.about = {
            "batch_size": config["train_batch_size"],
            "embedding_size": config["embedding_size"],
            "messages": "PyTorch Geometric" if geometric else "a stand-in for PyTorch Geometric",
            "repaired": list(PLAIN_ON_A_GPU.get(settings["name"], ())),
        }

    def step(self) -> None:
        """A batch with its negatives from the loader, and all that the trainer does with it."""
        self.trainer._train_epoch(self._next_batch(), 0)

    def _next_batch(self) -> Iterator[Tensor]:
        """One batch, and never the epoch's last, which is short."""
        if self.loader.pr + self.loader.step > self.loader.pr_end:
            self.loader.pr = 0
        yield next(self.loader)

    def evaluate(self) -> dict[str, float]:
        """Scores, ranking and metrics of the validation split."""
        return {name: float(value) for name, value in self.trainer.evaluate(self.valid).items()}

    def peak(self) -> int:
        """Bytes that a step holds at its peak above what stood before it."""
        self.trainer.optimizer.zero_grad()
        return peak_bytes(self.step, torch.device("cpu"))


if __name__ == "__main__":
    serve(MMRecModel)
