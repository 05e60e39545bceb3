"""A model of this package as training runs it, for :mod:`bench.worker`: ``python -m bench.our_model SETTINGS``."""

from __future__ import annotations

from typing import Any

import torch

from bench.steps import make_step
from bench.timing import peak_bytes, synchronise
from bench.worker import serve
from mde_fast.ranking.evaluator import Evaluator
from mde_fast.runs.assemble import make_dataset
from mde_fast.runs.config import make_config
from mde_fast.training.memory import keep_freed_memory


class OurModel:
    """Requests: ``step``, ``evaluate``, ``peak``."""

    def __init__(self, settings: dict[str, Any]):
        """``settings``: model, dataset, data_dir, device, threads."""
        torch.set_num_threads(settings["threads"])
        keep_freed_memory()
        self.device = torch.device(settings["device"])
        chosen = {name: settings[name] for name in ("model", "dataset", "data_dir")}
        # Baby's image features here are a reconstruction of 512 independent columns: others' would not gain as much.
        config = make_config({**chosen, "cache_dir": "none", "feature_rank": "full"})
        dataset = make_dataset(config)
        self.training = make_step(config, dataset, self.device, captured=self.device.type == "cuda")
        self.evaluator = Evaluator(dataset, config.evaluation.cutoffs, self.device)
        self.full_steps, self.done = max(self.training.steps - 1, 1), 0
        self.about = {"data": dataset.data, "batch_size": config.training.train_batch_size}

    def step(self) -> None:
        """Negatives, forward, backward and Adam on the epoch's next full batch."""
        self.training(self.done % self.full_steps)
        self.done += 1
        synchronise(self.device)

    def evaluate(self) -> dict[str, float]:
        """Embeddings, ranking and metrics of the validation split."""
        return self.evaluator(*self.training.model.embeddings(), "valid")

    def peak(self) -> int:
        """Bytes that a step holds at its peak above what stood before it."""
        self.training.optimizer.zero_grad(set_to_none=True)
        return peak_bytes(self.step, self.device)


if __name__ == "__main__":
    serve(OurModel)
