"""Tables stored in bfloat16: of every model that offers it, and what a training of one promises all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract import STEPS, assert_same_training, do_at_step
from tiny import tiny_dataset

from mde_fast.errors import InputError
from mde_fast.files import Checkpoints, Folder
from mde_fast.models import find_model, model_names
from mde_fast.ranking.options import EvaluationOptions
from mde_fast.runs.assemble import make_model
from mde_fast.runs.config import make_config
from mde_fast.training.trainer import Trainer

ABLE = tuple(name for name in model_names() if find_model(name).node_tables)


def _trainer(folder: Path, model: str, storage: str = "bf16", *, epochs: int = 3, **options) -> Trainer:
    dataset = tiny_dataset(num_users=60, num_items=40)
    config = make_config(
        {
            **{"dataset": "tiny", "cache_dir": "none", "device": "cpu", "model": model, "storage": storage},
            **{"epochs": epochs, "learning_rate": 0.01, "seed": 1},
            **{"train_batch_size": -(-len(dataset.train) // STEPS), **options},
        }
    )
    checkpoints = Checkpoints(Folder(folder))
    checkpoints.make("the folder")
    return Trainer(
        make_model(config, dataset, torch.device("cpu")),
        dataset,
        checkpoints,
        training=config.training,
        evaluation=EvaluationOptions(topk=(5,), valid_metric="recall@5"),
        kept={},
    )


def _trained(*arguments, **options) -> Trainer:
    trainer = _trainer(*arguments, **options)
    trainer.fit()
    return trainer


def _tables(trainer: Trainer) -> list[torch.nn.Parameter]:
    parameters = dict(trainer.model.named_parameters())
    return [parameters[name] for name in trainer.model.node_tables]


def test_models_with_tables_that_all_else_follows_from_offer_it():
    assert {"mde", "lightgcn", "dragon", "freedom", "vbpr"} <= set(ABLE)


@pytest.mark.parametrize("model", ABLE)
def test_tables_gradients_and_moments_are_half_as_large(tmp_path, model):
    halves, whole = _trained(tmp_path / "halves", model), _trained(tmp_path / "whole", model, "fp32")
    for table, other in zip(_tables(halves), _tables(whole), strict=True):
        assert table.dtype == table.grad.dtype == torch.bfloat16
        sizes = [sum(moment.nbytes for moment in (t.optimizer.state[p]["exp_avg"], t.optimizer.state[p]["exp_avg_sq"]))
                 for t, p in ((halves, table), (whole, other))]  # fmt: skip
        assert 2 * sizes[0] == sizes[1] and 2 * table.nbytes == other.nbytes
    stored = [trainer.checkpoints.load("last")[1] for trainer in (halves, whole)]
    assert stored[0].keys() == stored[1].keys()


@pytest.mark.parametrize("model", ABLE)
def test_it_begins_and_learns_as_in_float32(tmp_path, model):
    """The same parameters to begin with, and losses that are the same to a few hundredths."""
    begun = [_trainer(tmp_path / f"begun-{storage}", model, storage) for storage in ("bf16", "fp32")]
    for halves, whole in zip(begun[0].model.parameters(), begun[1].model.parameters(), strict=True):
        assert torch.equal(halves, whole.to(halves.dtype))
    histories = [
        _trained(tmp_path / storage, model, storage, epochs=6).progress.history for storage in ("bf16", "fp32")
    ]
    for halves, whole in zip(*histories, strict=True):
        assert halves["loss"] == pytest.approx(whole["loss"], rel=0.05)
    assert histories[0][-1]["loss"] < histories[0][0]["loss"]


@pytest.mark.parametrize("model", ABLE)
def test_the_same_seed_gives_the_same_bits_also_after_a_stop(tmp_path, model):
    whole = _trained(tmp_path / "whole", model)
    assert_same_training(whole, _trained(tmp_path / "again", model))
    stopped = _trainer(tmp_path / "stopped", model)
    do_at_step(stopped, STEPS + 2, lambda: setattr(stopped, "interrupted", True))
    stopped.fit()
    resumed = _trainer(tmp_path / "stopped", model)
    resumed.restore()
    assert all(moment.dtype == torch.bfloat16 for table in _tables(resumed) for moment in _moments(resumed, table))
    resumed.fit()
    assert_same_training(whole, resumed)


def _moments(trainer: Trainer, table: torch.nn.Parameter) -> list[torch.Tensor]:
    state = trainer.optimizer.state[table]
    return [state["exp_avg"], state["exp_avg_sq"]]


@pytest.mark.parametrize("model", ABLE)
def test_what_is_ranked_by_is_float32(tmp_path, model):
    _, tensors = _trained(tmp_path, model).checkpoints.load("best")
    assert tensors["user_embeddings"].dtype == tensors["item_embeddings"].dtype == torch.float32


@pytest.mark.parametrize("model", ("mmgcn", "turbocf"))
def test_models_without_are_refused(tmp_path, model):
    with pytest.raises(InputError, match=f"^storage: {model} is stored in fp32 alone; bf16 is for mde, dragon, "):
        _trainer(tmp_path, model)
