"""MMRec's own training of a model, in a process of its own that trains or evaluates when it is told to.

``python -m bench.mmrec --mmrec DIR --model VBPR --data FOLDER`` answers each line of its input with a line of JSON: to
``step N`` the milliseconds of N steps, to ``evaluate`` those of an evaluation, to ``memory`` the most that it ever held
in MiB. Code, configuration, data loader (negative sampling included) and evaluator are those of the checkout, run where
they lie; :mod:`bench.mmrec_repairs` has what they need of libraries as they are now.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .mmrec_repairs import importable, write_user_graph
from .timing import most_memory


class Training:
    """MMRec's trainer, data and model, one step at a time."""

    def __init__(self, source: Path, model: str, data: Path, options: dict[str, Any]):
        os.chdir(source / "src")  # its configuration is looked for in the current folder
        from common.trainer import Trainer
        from utils.configurator import Config
        from utils.dataloader import EvalDataLoader, TrainDataLoader
        from utils.dataset import RecDataset
        from utils.utils import get_model, init_seed

        place = {"data_path": f"{data.parent}/", "gpu_id": 0, "use_gpu": False, **options}
        config = Config(model, data.name, place)
        dataset = RecDataset(config)
        train, valid, _ = dataset.split()
        for part in (dataset, train, valid):
            str(part)  # counts its interactions, and nothing else does
        self.batches = TrainDataLoader(config, train, batch_size=config["train_batch_size"], shuffle=True)
        self.valid = EvalDataLoader(config, valid, additional_dataset=train, batch_size=config["eval_batch_size"])
        for name in ["seed", *config["hyper_parameters"]]:
            config[name] = options.get(
                name, (config[name] or [None])[0] if isinstance(config[name], list) else config[name]
            )
        init_seed(config["seed"])
        self.batches.pretrain_setup()
        self.model = get_model(model)(config, self.batches)
        self.trainer = Trainer(config, self.model)
        self.stream = self._stream()

    def _stream(self) -> Iterator[Any]:
        """Batches of one epoch after the other."""
        while True:
            self.model.pre_epoch_processing()
            yield from self.batches

    def step(self) -> None:
        """What its trainer does for each batch."""
        batch = next(self.stream)
        self.model.train()
        self.trainer.optimizer.zero_grad()
        losses = self.model.calculate_loss(batch)
        loss = sum(losses) if isinstance(losses, tuple) else losses
        float(loss)  # its trainer looks at every loss
        loss.backward()
        self.trainer.optimizer.step()

    def evaluate(self) -> None:
        self.trainer.evaluate(self.valid, is_test=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmrec", type=Path, required=True, help="checkout of MMRec")
    parser.add_argument("--model", required=True, help="a class of MMRec's")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder in MMRec's form")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--options", type=json.loads, default={}, help="keys of its configuration, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    answers = sys.stdout
    with importable(given.mmrec.resolve()), contextlib.redirect_stdout(sys.stderr):
        write_user_graph(given.data)
        training = Training(given.mmrec.resolve(), given.model, given.data.resolve(), given.options)
        _answer(answers, "ready")
        for line in sys.stdin:
            word, *number = line.split()
            if word == "memory":
                _answer(answers, most_memory())
                continue
            run = training.step if word == "step" else training.evaluate
            _answer(answers, [_milliseconds(run) for _ in range(int(number[0]) if number else 1)])


def _milliseconds(run) -> float:
    started = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - started)


def _answer(answers, what) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
