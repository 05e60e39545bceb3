"""A training run from its options to its result: new, resumed, evaluated."""

from __future__ import annotations

import itertools
import logging
import platform
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.dataset import REAL, InteractionDataset
from ..errors import InputError
from ..files import exclusive, without_prefix
from ..models import Model
from ..options import described, shown
from ..ranking.beyond import BeyondAccuracy
from ..ranking.catalogue import describe_catalogue, feature_hashes, save_catalogue
from ..ranking.evaluator import Evaluator, average_metrics, format_metrics, hits_of, ranked_metrics
from ..report.curves import plot_curves
from ..report.honesty import is_stand_in, remark
from ..training.memory import releases_memory
from ..training.precision import product_times, slower_than_float32
from ..training.progress import duration
from ..training.trainer import Trainer, TrainingError, require_negatives
from ..world import ALONE, World
from .assemble import make_dataset, make_device, make_model, require_fast_precision
from .config import RESUMABLE_CHANGES, Config, changed_options, fixed_options, with_options
from .log import RunLog
from .presets import MANY, Preset
from .run import RunFolder

logger = logging.getLogger("mde_fast")


@releases_memory
def start_run(
    config: Config,
    output: str | Path | None = None,
    *,
    notes: Iterable[str] = (),
    large: Preset | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Train a model from the beginning.

    Args:
        config: all options.
        output: the run folder to make; default ``runs/<dataset>-<model>-<date>``.
        notes: lines for the log that say where the options come from.
        large: options to take instead where there are many training interactions; a line says so.
        world: the processes that train together, of which the first writes the folder.

    Returns:
        What metrics.json holds.

    Raises:
        InputError: anything the user gave that cannot be used.
        mde_fast.training.trainer.TrainingError: a loss is not finite.
    """
    with world.together():
        device = make_device(config.training, world)
        require_fast_precision(config.training, device)
    if output is None:
        output = world.first_says(str(_new_folder(config)))
    with world.together():
        RunFolder.require_new(output)
    with RunLog() as log:
        with world.together():
            dataset = make_dataset(config, world=world)
        describe(dataset)
        for note in notes:
            logger.info("%s", note)
        config = _for_its_size(config, large, len(dataset.train))
        model = make_model(config, dataset, device, world=world)
        if model.learns:
            require_negatives(dataset)
        with world.together():
            run = RunFolder.create(output, world)  # only now: bad input leaves nothing behind
        with _only_here(run, "name another --output", world):
            with world.together():
                log.write_to(run)
                save_catalogue(run, dataset)
                run.write_text("config.yaml", config.to_yaml())  # last: a run that has one can be resumed
            world.begins(str(output))
            return _train(run, config, make_trainer(run, config, model, dataset, world), dataset)


@contextmanager
def _only_here(run: RunFolder, advice: str, world: World) -> Iterator[None]:
    """:func:`mde_fast.files.exclusive`, which one process asks for on behalf of all."""
    with ExitStack() as stack:
        with world.together():
            if world.is_first:
                stack.enter_context(exclusive(run.path, advice))
        yield


def _for_its_size(config: Config, large: Preset | None, interactions: int) -> Config:
    if large is None or interactions <= MANY:
        return config
    options = ", ".join(f"{name} {shown(value)}" for name, value in large.options.items())
    logger.info(
        "%s", f"{interactions:,} training interactions: {options}, for fewer steps (docs/batch_size.md); flags win"
    )
    return with_options(config, **large.options)


def _new_folder(config: Config) -> Path:
    """``runs/<dataset>-<model>-<date>``, with a number where two trainings begin in one second."""
    name = f"{Path(config.data.dataset).resolve().stem}-{config.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (Path("runs", name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in candidates if not path.exists())


@releases_memory
def resume_run(path: str | Path, changes: dict[str, Any], *, world: World = ALONE) -> dict[str, Any]:
    """Continue a run where it stopped, bit for bit as if it never had, given the same device, versions and CPU threads.

    Args:
        path: the run folder.
        changes: options to change; only ``epochs``, ``device`` and where files are may be.
        world: the processes that go on with it; there may be more or fewer than before.

    Returns:
        What metrics.json holds.
    """
    run = RunFolder.open(path, world)
    stored = run.config()
    if run.has("metrics.json") and not run.checkpoints.has("last"):
        raise InputError(f"{path}: is over and has no last checkpoint to go on from; evaluate it, or train anew")
    for change in changed_options(stored.values(), {"model": stored.model, **changes}, without=RESUMABLE_CHANGES):
        raise InputError(
            f"{change.name}: a resumed run keeps its options ({change.name} is {change.then}); "
            f"only {', '.join(RESUMABLE_CHANGES)} may change"
        )
    config = _with_changes(stored, {"minutes": None, **changes})  # a limit is of one command
    with world.together():
        device = make_device(config.training, world)
    with RunLog() as log, _only_here(run, "wait for its end", world):
        if slower_than_float32(config.training, device):
            logger.warning("bf16 is slower than float32 on this CPU (%s); the run goes on in it", product_times())
        with world.together():
            dataset = make_dataset(config, world=world)
            check_same_dataset(run, dataset)
        describe(dataset)
        model = make_model(config, dataset, device, world=world)
        log.write_to(run)
        run.remove_leftovers()
        if run.checkpoints.has("last"):
            require_unchanged(run, run.checkpoints.state("last"), config)
        trainer = make_trainer(run, config, model, dataset, world)
        with world.together():
            trainer.restore()
        if config.training.epochs < trainer.progress.epoch:
            raise InputError(f"epochs: {trainer.progress.epoch} are done already; give as many or more, or none")
        run.write_text("config.yaml", config.to_yaml())
        return _train(run, config, trainer, dataset)


def make_trainer(
    run: RunFolder, config: Config, model: Model, dataset: InteractionDataset, world: World = ALONE
) -> Trainer:
    """The trainer of a run."""
    return Trainer(
        model,
        dataset,
        run.checkpoints,
        training=config.training,
        evaluation=config.evaluation,
        kept=fixed_options(config),
        world=world,
    )


def _train(run: RunFolder, config: Config, trainer: Trainer, dataset: InteractionDataset) -> dict[str, Any]:
    training, device = config.training, trainer.device
    if trainer.finished():
        logger.info("%s is finished, there is nothing left to train", run.path)
    else:
        by = f"{trainer.world.size} processes, " if trainer.world.size > 1 else ""
        what = config.model, device, by + training.precision, training.seed, run.path
        logger.info("training %s on %s, %s, seed %d -> %s", *what)
    try:
        trainer.fit()
    except TrainingError as error:
        raise TrainingError(f"{error}; {run.path} keeps the epochs before, try a smaller learning_rate") from None
    if not trainer.progress.history:
        logger.info("interrupted in the first epoch; continue with --resume %s", run.path)
        return {"status": "interrupted"}
    result = {
        "status": _status(trainer),
        "model": config.model,
        "dataset": config.data.dataset,
        "data": dataset.data,
        "device": str(device),
        "precision": training.precision,
        "feature_rank": training.feature_rank,
        "seed": training.seed,
        **trainer.result(),
        "versions": {"mde_fast": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    run.write_json("metrics.json", result)
    title = f"{config.model} on {dataset.name} ({dataset.data}), seed {training.seed}"
    history, metric = trainer.progress.history, config.evaluation.metric
    run.write("curves.png", lambda path: plot_curves(history, path, title=title, metric=metric, data=dataset.data))
    _report(run, config, result, dataset)
    return result


def _status(trainer: Trainer) -> str:
    """``finished``, ``out of time`` (as ``minutes`` asked for) or ``interrupted``; the last two can go on."""
    if trainer.finished():
        return "finished"
    return "out of time" if trainer.out_of_time and not trainer.interrupted else "interrupted"


def _report(run: RunFolder, config: Config, result: dict[str, Any], dataset: InteractionDataset) -> None:
    if is_stand_in(result["data"]):
        logger.info("%s", remark(result["data"]))
    logger.info("best epoch %d of %d; test metrics:", result["best_epoch"], result["epochs_run"])
    logger.info("%s", format_metrics(result["test"], config.evaluation.topk))
    if result["status"] == "interrupted":
        logger.info("interrupted: everything is saved, continue with --resume %s", run.path)
        logger.info("results in %s", run.path)
        return
    someone = dataset.user_ids[dataset.train.users.min()]  # whom the model knows
    folder, user = (shlex.quote(str(word)) for word in (run.path, someone))
    logger.info("results in %s, curves in %s", run.path, run.path / "curves.png")
    if result["status"] == "out of time":
        asked = duration(60 * (config.training.minutes or 0))
        logger.info("stopped after %s as asked; to the end with: python -m mde_fast.train --resume %s", asked, folder)
    logger.info("recommend with: python -m mde_fast.recommend %s --user %s --k 10", folder, user)


def evaluate_run(
    path: str | Path,
    *,
    topk: tuple[int, ...] = (),
    data_dir: str | None = None,
    beyond: bool = False,
    groups: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Validation and test metrics of a run's best epoch, computed again from its embeddings.

    Args:
        path: the run folder.
        topk: cut-offs; default those of the run.
        data_dir: where dataset folders are now, when they have moved.
        beyond: also what the lists are like beside being right, and all metrics by groups of users.
        groups: of these groups the most train interactions of each, see
            :func:`mde_fast.ranking.beyond.user_groups`.
    """
    run = RunFolder.open(path)
    changes = {"topk": topk, "data_dir": data_dir}
    config = _with_changes(run.config(), {name: value for name, value in changes.items() if value})
    state, tensors = run.checkpoints.load("best")
    dataset = make_dataset(config, with_features=False)
    check_same_dataset(run, dataset)
    evaluator = Evaluator(dataset, config.evaluation.topk)
    vectors = tensors["user_embeddings"], tensors["item_embeddings"]
    result = {
        "model": config.model,
        "dataset": config.data.dataset,
        "data": describe_catalogue(run)["data"],
        "best_epoch": state["epoch"],
        "topk": evaluator.cutoffs,
    }
    measure = BeyondAccuracy(dataset.train_matrix, evaluator.cutoffs) if beyond else None
    measured = {}
    for part in ("valid", "test"):
        ranked, users = evaluator.rank(*vectors, part)
        relevant = evaluator.held_out[part][users]
        hits = hits_of(ranked, relevant)
        per_user = ranked_metrics(ranked, relevant, evaluator.cutoffs, hits=hits)
        result[part] = average_metrics(per_user)
        if measure:
            measured[part] = measure(ranked, users, hits, per_user, groups)
    return {**result, "beyond": measured} if measure else result


def rebuild_model(path: str | Path, *, data_dir: str | None = None) -> tuple[Model, InteractionDataset, dict[str, Any]]:
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
    state, tensors = run.checkpoints.load("best")
    require_unchanged(run, state, config)
    dataset = make_dataset(config)
    check_same_dataset(run, dataset)
    model = make_model(config, dataset, torch.device("cpu"))
    model.load_state_dict(without_prefix(tensors, "model."))
    return model, dataset, state


def _with_changes(stored: Config, changes: dict[str, Any]) -> Config:
    """A run's options with some changed; ``data_dir`` says where a dataset that was named by a path is now, too."""
    config = with_options(stored, **changes)
    if changes.get("data_dir"):
        place = Path(changes["data_dir"]) / Path(stored.data.dataset).name
        if stored.data.dataset != place.name or place.is_file():
            return with_options(config, dataset=str(place))
    return config


def require_unchanged(run: RunFolder, state: dict[str, Any], config: Config) -> None:
    """Refuse a configuration that is not the one a checkpoint's state was trained with.

    Raises:
        InputError: naming the options.
    """
    if "options" not in state:
        return
    changed = changed_options(state["options"], fixed_options(config))
    if changed:
        raise InputError(
            f"{run.path}/config.yaml: was edited after training ({described(changed)}); restore it, or train anew with "
            "the new values"
        )


def check_same_dataset(run: RunFolder, dataset: InteractionDataset) -> None:
    """Refuse to mix a run with data it was not trained on.

    Raises:
        InputError: sizes, splits or ids differ, or features if the dataset has real ones.
    """
    catalogue = describe_catalogue(run)
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
