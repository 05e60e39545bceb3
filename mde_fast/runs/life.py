"""A training run from its options to its result: new, resumed, evaluated."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import __version__
from ..data.dataset import REAL, InteractionDataset
from ..errors import InputError
from ..files.lock import exclusive
from ..ranking.evaluator import Evaluator, format_metrics
from ..ranking.recommender import CATALOGUE_ENTRIES, feature_hashes, save_catalogue
from ..report.curves import plot_curves
from ..report.honesty import is_stand_in, remark
from ..training.trainer import Trainer, require_negatives, without_prefix
from .assemble import make_dataset, make_device, make_model
from .config import Config, with_options
from .log import RunLog
from .run import RESUMABLE_CHANGES, RunFolder

logger = logging.getLogger("mde_fast")


def start_run(config: Config, output: str | Path | None = None, *, notes: Iterable[str] = ()) -> dict[str, Any]:
    """Train a model from the beginning.

    Args:
        config: all options.
        output: the run folder to make; default ``runs/<dataset>-<model>-<date>``.
        notes: lines for the log that say where the options come from.

    Returns:
        What metrics.json holds.

    Raises:
        InputError: anything the user gave that cannot be used.
        mde_fast.training.trainer.TrainingError: a loss is not finite.
    """
    device = make_device(config)
    if output is None:
        output = Path("runs") / f"{Path(config.dataset).resolve().stem}-{config.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    RunFolder.require_new(output)
    with RunLog() as log:
        dataset = make_dataset(config)
        describe(dataset)
        for note in notes:
            logger.info("%s", note)
        model = make_model(config, dataset, device)
        require_negatives(dataset)
        run = RunFolder.create(output)  # only now: bad input leaves nothing behind
        with exclusive(run.path, "name another --output"):
            log.write_to(run)
            save_catalogue(run, dataset)
            run.write_text("config.yaml", config.to_yaml())  # last: a run that has one can be resumed
            return _train(run, Trainer(model, dataset, config, run), dataset)


def resume_run(path: str | Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Continue a run where it stopped, bit for bit as if it never had, given the same device, versions and CPU threads.

    Args:
        path: the run folder.
        changes: options to change; only ``epochs``, ``device`` and where files are may be.

    Returns:
        What metrics.json holds.
    """
    run = RunFolder.open(path)
    stored = run.config()
    if (run.path / "metrics.json").exists() and not run.has_checkpoint("last"):
        raise InputError(f"{path}: is over and has no last checkpoint to go on from; evaluate it, or train anew")
    for name, value in changes.items():
        if name not in RESUMABLE_CHANGES and value != getattr(stored, name):
            raise InputError(
                f"{name}: a resumed run keeps its options ({name} is {getattr(stored, name)}); "
                f"only {', '.join(RESUMABLE_CHANGES)} may change"
            )
    config = _with_changes(stored, changes)
    device = make_device(config)
    with RunLog() as log, exclusive(run.path, "wait for its end"):
        dataset = make_dataset(config)
        describe(dataset)
        check_same_dataset(run, dataset)
        model = make_model(config, dataset, device)
        log.write_to(run)
        run.remove_leftovers()
        trainer = Trainer(model, dataset, config, run)
        trainer.restore()
        if config.epochs < trainer.progress.epoch:
            raise InputError(f"epochs: {trainer.progress.epoch} are done already; give as many or more, or none")
        run.write_text("config.yaml", config.to_yaml())
        return _train(run, trainer, dataset)


def _train(run: RunFolder, trainer: Trainer, dataset: InteractionDataset) -> dict[str, Any]:
    config, device = trainer.config, trainer.device
    if trainer.finished():
        logger.info("%s is finished, there is nothing left to train", run.path)
    else:
        what = config.model, device, config.precision, config.seed, run.path
        logger.info("training %s on %s, %s, seed %d -> %s", *what)
    trainer.fit()
    if not trainer.progress.history:
        logger.info("interrupted in the first epoch; continue with --resume %s", run.path)
        return {"status": "interrupted"}
    result = {
        "status": "finished" if trainer.finished() else "interrupted",
        "model": config.model,
        "dataset": config.dataset,
        "data": dataset.data,
        "device": str(device),
        "precision": config.precision,
        "seed": config.seed,
        **trainer.result(),
        "versions": {"mde_fast": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    run.write_json("metrics.json", result)
    title = f"{config.model} on {dataset.name} ({dataset.data}), seed {config.seed}"
    history, metric = trainer.progress.history, config.valid_metric.lower()
    run.write("curves.png", lambda path: plot_curves(history, path, title=title, metric=metric))
    _report(run, config, result)
    return result


def _report(run: RunFolder, config: Config, result: dict[str, Any]) -> None:
    if is_stand_in(result["data"]):
        logger.info("%s", remark(result["data"]))
    logger.info("best epoch %d of %d; test metrics:", result["best_epoch"], result["epochs_run"])
    logger.info("%s", format_metrics(result["test"], config.topk))
    if result["status"] == "interrupted":
        logger.info("interrupted: everything is saved, continue with --resume %s", run.path)
    logger.info("results in %s", run.path)


def evaluate_run(path: str | Path, *, topk: tuple[int, ...] = (), data_dir: str | None = None) -> dict[str, Any]:
    """Validation and test metrics of a run's best epoch, computed again from its embeddings.

    Args:
        path: the run folder.
        topk: cut-offs; default those of the run.
        data_dir: where dataset folders are now, when they have moved.
    """
    run = RunFolder.open(path)
    changes = {"topk": topk, "data_dir": data_dir}
    config = _with_changes(run.config(), {name: value for name, value in changes.items() if value})
    state, tensors = run.load_checkpoint("best")
    dataset = make_dataset(config, with_features=False)
    check_same_dataset(run, dataset)
    evaluator = Evaluator(dataset, config.topk)
    vectors = tensors["user_embeddings"], tensors["item_embeddings"]
    return {
        "model": config.model,
        "dataset": config.dataset,
        "data": run.load_json("catalogue.json", CATALOGUE_ENTRIES)["data"],
        "best_epoch": state["epoch"],
        "topk": evaluator.cutoffs,
        "valid": evaluator(*vectors, "valid"),
        "test": evaluator(*vectors, "test"),
    }


def rebuild_model(
    path: str | Path, *, data_dir: str | None = None
) -> tuple[nn.Module, InteractionDataset, dict[str, Any]]:
    """The model of a run's best epoch, on the CPU.

    Args:
        path: the run folder.
        data_dir: where dataset folders are now, when they have moved.

    Returns:
        (model, dataset, state of the best checkpoint).

    Raises:
        InputError: not a run, no epoch was finished in it, or its data have changed.
    """
    run = RunFolder.open(path)
    config = _with_changes(run.config(), {"data_dir": data_dir} if data_dir else {})
    state, tensors = run.load_checkpoint("best")
    run.require_unchanged(state, config)
    dataset = make_dataset(config)
    check_same_dataset(run, dataset)
    model = make_model(config, dataset, torch.device("cpu"))
    model.load_state_dict(without_prefix(tensors, "model."))
    return model, dataset, state


def _with_changes(stored: Config, changes: dict[str, Any]) -> Config:
    """A run's options with some changed; ``data_dir`` says where a dataset that was named by a path is now, too."""
    config = with_options(stored, **changes)
    if changes.get("data_dir"):
        place = Path(changes["data_dir"]) / Path(stored.dataset).name
        if stored.dataset != place.name or place.is_file():
            return with_options(config, dataset=str(place))
    return config


def check_same_dataset(run: RunFolder, dataset: InteractionDataset) -> None:
    """Refuse to mix a run with data it was not trained on.

    Raises:
        InputError: sizes, splits or ids differ, or features if the dataset has real ones.
    """
    catalogue = run.load_json("catalogue.json", CATALOGUE_ENTRIES)
    if catalogue["fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{run.path}: trained on other data than {dataset.name} is now ({len(catalogue['user_ids']):,} users and "
            f"{len(catalogue['item_ids']):,} items then, {dataset.num_users:,} and {dataset.num_items:,} now, "
            "or another split); give the original --data-dir"
        )
    then, now = catalogue["features"], feature_hashes(dataset)
    if dataset.data == REAL and now and now != then:
        changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        raise InputError(
            f"{run.path}: trained on other features of {dataset.name} than are there now ({', '.join(changed)}); "
            "bring back the original files or train anew"
        )


def describe(dataset: InteractionDataset) -> None:
    """Log what the dataset is."""
    # What nobody may overlook comes first.
    for line in sorted(dataset.statistics(), key=lambda line: not line.startswith("STAND-IN")):
        logger.info("%s", line)
